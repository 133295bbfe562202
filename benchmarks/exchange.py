"""The exchange of 10 million parameters between 2 ranks on one machine.

Both ranks train a network of that size on one sample each; what counts is the part of the step in which gradients are
reduced, parameters updated, and ranks wait for each other. Ours ("ordered") takes turns with the textbook form
(MPI_Allreduce, then the whole update on every rank), and with a plain loop over the bytes of reducing and updating.
Ours has no gradients to reduce here, as each rank computes its slice of the sum from both samples, which counts as the
backward pass, and takes no longer than a partial gradient of full length. The plain loop: for each parameter it
reads both gradients, the weight and the optimizer's state, and writes the weight and the state, half on each rank.
Run: python benchmarks/exchange.py [--quick] [--json FILE]
"""

import os
import sys

from exchange_distprop import STEPS_PER_EPOCH
from programs import ranks
from report import Figure, Report, figure, finish, parser_of
from rounds import Turn, median_seconds, started, take_rounds

ABOUT = (
    "Milliseconds a step of reducing gradients and updating parameters, float32, 2 ranks; ours against MPI_Allreduce "
    "with the whole update on every rank, and against reading and writing the bytes of it once. "
    "Ours computes each rank's slice of the summed gradient in the backward pass, so that there is none to reduce. "
    "Median over rounds, and the range of their middle half."
)
PHASES = ("exchange", "update", "wait")  # of a step's time
FORMS = ("ordered", "allreduce")
ONCE = "once"
SPEEDUP, LIMIT = 4.0, 1.5


def exchange_ms(turn: Turn) -> float:
    """Milliseconds a step of a training's turn, on the rank that waits less: the other one waits for its computing."""
    share: float = min(sum(split[phase] for phase in PHASES) for split in turn[0]["split"])
    return 1e3 * share * median_seconds(turn) / STEPS_PER_EPOCH


def measure(optimizer: str, widths: str, rounds: int, seconds: float) -> list[Figure]:
    """All figures of an optimizer."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    print(optimizer, file=sys.stderr)
    programs = {form: ranks(2, "exchange_distprop.py", form, optimizer, widths) for form in FORMS}
    programs[ONCE] = ranks(2, "exchange_once.py", optimizer, widths)
    with started({name: [(program, cores)] for name, program in programs.items()}, seconds) as sides:
        turns = take_rounds(sides, rounds)
    ours, textbook = ([exchange_ms(turn) for turn in turns[form]] for form in FORMS)
    once = [1e3 * median_seconds(turn) for turn in turns[ONCE]]
    return [
        figure(optimizer, "ours, ms", ours),
        figure(optimizer, "Allreduce + update, ms", textbook),
        figure(optimizer, "once, ms", once),
        figure(optimizer, "(Allreduce + update) / ours", _ratios(textbook, ours), SPEEDUP),
        figure(optimizer, "ours / once", _ratios(ours, once), LIMIT, at_most=True),
    ]


def _ratios(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def main() -> None:
    parser = parser_of(__doc__, "three rounds of 0.1 s a turn, and a hundredth of the parameters")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    options = parser.parse_args()
    widths = "3200-3120-2"  # 10 million parameters
    if options.quick:
        options.rounds, options.seconds, widths = 3, 0.1, "320-312-2"
    figures = [
        found
        for optimizer in ("momentum", "adam")
        for found in measure(optimizer, widths, options.rounds, options.seconds)
    ]
    finish(Report("Exchange on one machine", ABOUT, figures), options)


if __name__ == "__main__":
    main()
