"""Training speed against the peers: distprop on 1 and 2 ranks, PyTorch (eager, compiled, DDP), JAX, scikit-learn.

All train the same networks of ReLU layers in float32 from the same initial weights, on the same data in memory, in a
new order each epoch. First they train 20 steps on the same minibatches, and the losses have to agree; then they take
many short turns, one after the other, each process with one thread on a core of its own. A figure is the median over
the rounds of a ratio of two sides' speeds in the same round, with the range of the middle half. With --clock cpu a turn
takes its process's own time, which other programs disturb less; only sides of one process take part then. Peers get
their own environments, made at the first use.
Run: python benchmarks/steps.py [--networks 64-32-10,16 ...] [--sides "1 rank" "PyTorch" ...] [--quick]
     [--clock cpu] [--json FILE]
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from peers import versions_of
from report import Report, finish, parser_of
from rounds import started, take_rounds
from steps_distprop import SEED, check
from steps_report import NETWORKS, Speeds, fastest_table, figures, profile_table, speed_table
from steps_sides import CONTESTANTS, ON_ONE_CORE, speed_of
from steps_task import CHECK_EPOCHS, CLOCKS, Task

from distprop.comm.serial import Serial
from distprop.kernels.permutation import KEYS, minibatch_indices

ABOUT = (
    "Ratios of speeds, ours over the peer's in the same round: above 1 distprop is faster. Shuffling and gathering the "
    "minibatches are included on every side. 1 rank / 1 shard: the default number of shards against one shard, which "
    "is what the same bits on any number of ranks cost. 2 ranks / two runs: against two runs of one rank side by side; "
    "/ two that wait: against two that wait for each other as often as ranks do, for nothing else. Tile: the register "
    "tile, which does the arithmetic of a step's products on data in the first cache, and nothing else; so tile / peer "
    "is more than any program can reach. Barrier: how long two ranks wait for each other, for nothing: less than "
    "150 ns on cores that share a cache, more on others; a virtual machine's cores are moved now and then."
)
# Relative difference of the mean loss of 4 steps, of the first 20. It begins with 1e-7; then Adam, which divides by a
# gradient's own size, makes the rounding of tiny gradients visible: NumPy in float32 is 1e-4 away from float64.
TOLERANCE = 1e-3
TOLERANCES = {"scikit-learn": 5e-3}  # it adds Adam's epsilon before correcting the bias


def start_of(task: Task) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Our initial parameters and the orders (epochs, n) of our first epochs of the check, for the peers."""
    model = check(task, Serial()).model
    samples = task.check.samples
    orders = np.empty((CHECK_EPOCHS, samples), np.int64)
    for epoch, order in enumerate(orders):
        minibatch_indices(order, np.zeros(KEYS, np.uint64), 0, samples, SEED, epoch)
    return model.named(), orders


def compare(task: Task, curves: Mapping[str, Sequence[float]]) -> None:
    """Raise unless all have computed the same losses."""
    ours = np.array(curves["1 rank"])
    for side, curve in curves.items():
        if side == "scikit-learn" and task.sizes[-1] == 2:  # another network, see steps_sklearn.py
            continue
        found = float(np.max(np.abs(np.array(curve) / ours - 1)))
        print(f"  {side:20} losses differ by {found:.1e}", file=sys.stderr)
        if not found <= TOLERANCES.get(side, TOLERANCE):
            raise RuntimeError(f"{task.name}: {side} computes something else ({found:.1e})")


def measure(task: Task, options: argparse.Namespace) -> Speeds:
    """The speeds of all sides' turns."""
    print(task.name, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        task.save(Path(folder), *start_of(task))
        contestants = {name: CONTESTANTS[name].on(options.cores, Path(folder)) for name in options.sides}
        with started(contestants, options.seconds) as sides:
            compare(task, {name: side.ready[0]["losses"] for name, side in sides.items() if side.ready[0]})
            turns = take_rounds(sides, options.rounds)
    return {name: [speed_of(task, name, turn) for turn in taken] for name, taken in turns.items()}


def parse_network(text: str) -> tuple[tuple[int, ...], int]:
    sizes, _, batch = text.partition(",")
    return tuple(map(int, sizes.split("-"))), int(batch)


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = parser_of(__doc__, "two rounds of 0.1 s a turn, 2048 samples")
    parser.add_argument("--networks", nargs="+", type=parse_network, default=[parse_network(text) for text in NETWORKS])
    parser.add_argument("--optimizers", nargs="+", choices=("momentum", "adam"), default=["momentum", "adam"])
    parser.add_argument("--sides", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--cores", type=int, nargs=2, default=sorted(os.sched_getaffinity(0))[:2])
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.samples = 2, 0.1, 2048
    options.sides = ["1 rank", *(side for side in options.sides if side != "1 rank")]  # the others are compared with it
    if options.clock == "cpu":
        options.sides = [side for side in options.sides if side in ON_ONE_CORE]
    return options


def report(by_task: Mapping[Task, Speeds], options: argparse.Namespace) -> Report:
    title = "Training speed" + ("" if options.clock == "wall" else ", by the processes' own time")
    peers = sorted({CONTESTANTS[side].environment for side in options.sides} - {""})
    tables = [fastest_table(by_task), speed_table(by_task), profile_table(by_task)]
    return Report(title, ABOUT, figures(by_task), tables, versions=versions_of(*peers))


def main() -> None:
    options = options_of(sys.argv[1:])
    by_task: dict[Task, Speeds] = {}
    for sizes, batch in options.networks:
        for optimizer in options.optimizers:
            task = Task(sizes, batch, optimizer, options.samples, options.clock)
            by_task[task] = measure(task, options)
            if options.json:  # what has been measured is worth keeping, whatever comes
                report(by_task, options).save(options.json)
    finish(report(by_task, options), options)


if __name__ == "__main__":
    main()
