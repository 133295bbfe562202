"""What the digests of the parameters cost: python benchmarks/guards.py [--rounds 9] [--quick] [--json FILE]

One rank, Adam, the networks of steps.py. Every log_every steps (100 by default) a digest of the parameters is computed
compared where there are several copies; in all other steps a call finds that there is nothing to do. Both are measured
as machine code, as in a step, and in turns with whole steps, by the processor's time: others may use the machine.
"""

import time

from report import Figure, Report, figure, finish, parser_of
from steps_distprop import config_of, material_of
from steps_report import NETWORKS
from steps_task import Task

from distprop.comm.serial import Serial
from distprop.config.run import Training
from distprop.errors import Interrupted
from distprop.kernels.step import STEP
from distprop.kernels.tape import Tape
from distprop.training import loop
from distprop.training.checkpoint import Progress
from distprop.training.guards import Digests
from distprop.training.run import compile_kernels
from distprop.training.step import StepsResult

EVERY = Training().log_every
REPEATS, MANY, LEAST_S = 1000, 50, 0.3
ABOUT = (
    "Microseconds of a step, of a digest, and of the call when no digest is due; the share is that of one digest and "
    f"{EVERY - 1} times the call that does nothing in {EVERY} steps. Median over rounds, and the range "
    "of their middle half."
)


class Clock(loop.Silent):
    """Takes the time of steps that are machine code, for a while, and then stops training."""

    def __init__(self) -> None:
        self.steps, self.begin = 0, 0.0

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        if self.begin:
            self.steps += result.steps
            self.spent = time.process_time() - self.begin
        elif progress.step > 600:
            self.begin = time.process_time()

    def wish(self, progress: Progress, steps: int) -> int:
        return loop.STOP if self.begin and time.process_time() - self.begin > LEAST_S else 0


def step_us(training: loop.Training, clock: Clock) -> float:
    """Train for a while."""
    clock.steps, clock.begin = 0, 0.0
    try:
        training.run()
    except Interrupted:
        return 1e6 * clock.spent / clock.steps
    raise AssertionError("training has come to its end")


def calls_us(training: loop.Training, is_due: bool) -> float:
    """The calls of the digest, as a tape of their own, in which there are many of them when they are short."""
    step, times = training._step, 1 if is_due else MANY
    digests = Digests(step.exchange, 0, step._clock)  # every 0 steps: the next one is due at once
    tape = Tape([digests.compute(), *digests.compare()] * times)
    step._clock[STEP] = 0 if is_due else 1
    while not tape.is_compiled:
        tape.run(REPEATS)
    begin = time.process_time()
    tape.run(REPEATS)
    return 1e6 * (time.process_time() - begin) / REPEATS / times


def measure(task: Task, rounds: int) -> list[Figure]:
    config, material, clock = config_of(task), material_of(task), Clock()
    compile_kernels(config, material, Serial(), lambda: None)
    training = loop.Training(config, Serial(), material.data, None, material.encoding, clock, "")
    turns = [(step_us(training, clock), calls_us(training, True), calls_us(training, False)) for _ in range(rounds)]
    shares = [100 * (due + (EVERY - 1) * idle) / EVERY / step for step, due, idle in turns]
    steps, dues, idles = zip(*turns, strict=True)
    return [
        figure(task.network, "step", steps),
        figure(task.network, "digest", dues),
        figure(task.network, "none due", idles),
        figure(task.network, "share, %", shares, 0.5, at_most=True),
    ]


def main() -> None:
    parser = parser_of(__doc__, "one round, two networks")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    figures: list[Figure] = []
    for text in NETWORKS[:2] if options.quick else NETWORKS:
        sizes, batch = text.split(",")
        task = Task(tuple(map(int, sizes.split("-"))), int(batch), "adam", 8192)
        figures += measure(task, 1 if options.quick else options.rounds)
    finish(Report("Digests of the parameters", ABOUT, figures), options)


if __name__ == "__main__":
    main()
