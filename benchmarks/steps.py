"""Training speed against the peers: distprop on 1 and 2 ranks, PyTorch (eager, compiled, DDP), JAX, scikit-learn.

All train the same networks of ReLU layers in float32, with the same initial weights, on the same data in memory, in a
new order each epoch; the losses of the first 20 steps, on the same minibatches, have to agree. The sides take turns,
each process on a core of its own with one thread. A turn's speed is the median of its epochs, compiling and warming up
excluded; a cell is the median over the rounds of ours divided by the peer's speed in the same round, with the smallest
and the largest. With --clock cpu a turn takes its process's own time, which other programs disturb less; only sides of
one process take part then. Peers get their own environments, made at the first use.
Run: python benchmarks/steps.py [--networks 64-32-10,16 ...] [--sides "1 rank" "PyTorch" ...] [--quick]
     [--clock cpu] [--output FILE]
"""

import argparse
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from steps_distprop import SEED, engine
from steps_report import machine, profile_table, ratio_table, speed_table
from steps_task import CLOCKS, Task
from steps_tile import tile_gflops
from steps_turns import SIDES, Turn, take

from distprop.comm.serial import Serial
from distprop.kernels.permutation import minibatch_indices
from distprop.training.loop import Silent

NETWORKS = (
    "64-32-10,16",
    "30-64-32-2,32",
    "784-256-128-10,64",
    "784-256-128-10,256",
    "28-300-300-300-2,256",
    "784-1024-1024-10,256",
)
# Relative difference of the first 20 losses. It begins with 1e-7; then Adam, which divides by a gradient's own size,
# makes the rounding of tiny gradients visible: NumPy in float32 is 1e-4 away from NumPy in float64.
TOLERANCE = 1e-3
TOLERANCES = {"scikit-learn": 5e-3}  # it adds Adam's epsilon before correcting the bias


def start_of(task: Task) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Our initial parameters and the order (N,) of our first epoch, for the peers."""
    model = engine(task, Serial(), Silent()).model
    order = np.empty(task.samples, np.int64)
    minibatch_indices(order, 0, task.samples, SEED, 0)
    return model.named(), order


def difference(ours: Turn, theirs: Turn) -> float:
    """The largest relative difference of the first steps' losses."""
    mine, other = np.array(ours.losses), np.array(theirs.losses)
    return float(np.max(np.abs(other / mine - 1)))


def check(task: Task, turns: dict[str, list[Turn]]) -> None:
    """Raise unless all have computed the same thing."""
    for side, (first, *_) in turns.items():
        if side == "scikit-learn" and task.sizes[-1] == 2:  # another network, see steps_sklearn.py
            continue
        found = difference(turns["1 rank"][0], first)
        print(f"  {side:14} losses differ by {found:.1e}", file=sys.stderr)
        if not found <= TOLERANCES.get(side, TOLERANCE):
            raise RuntimeError(f"{task.name}, {task.optimizer}: {side} computes something else ({found:.1e})")


def measure(task: Task, sides: list[str], rounds: int) -> dict[str, list[Turn]]:
    """The turns of each side, one a round."""
    turns: dict[str, list[Turn]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task.save(folder, *start_of(task))
        for number in range(rounds):
            for side in sides:
                turns[side].append(take(SIDES[side], task, folder))
                speed = turns[side][-1].samples_per_s / task.batch
                print(f"  {number + 1} {side:14} {speed:10,.0f} steps/s", file=sys.stderr, flush=True)
            if number == 0:
                check(task, turns)
    return turns


def parse_network(text: str) -> tuple[tuple[int, ...], int]:
    sizes, _, batch = text.partition(",")
    return tuple(map(int, sizes.split("-"))), int(batch)


def options_of(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", type=parse_network, default=[parse_network(text) for text in NETWORKS])
    parser.add_argument("--optimizers", nargs="+", choices=("momentum", "adam"), default=["momentum", "adam"])
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured in each turn")
    parser.add_argument("--samples", type=int, default=16384)
    parser.add_argument("--cores", type=int, nargs=2, default=sorted(os.sched_getaffinity(0))[:2])
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--quick", action="store_true", help="one round, half a second a turn, 6144 samples")
    parser.add_argument("--output", type=Path, help="write the tables to this file too")
    return parser.parse_args(arguments)


def main() -> None:
    options = options_of(sys.argv[1:])
    if options.quick:
        options.rounds, options.seconds, options.samples = 1, 0.5, 6144
    sides = ["1 rank", *(side for side in options.sides if side != "1 rank")]  # the others are compared with it
    if options.clock == "cpu":
        sides = [side for side in sides if SIDES[side].processes == SIDES[side].copies == 1]
    text = [f"Ratios are ours over the peer's speed; above 1 distprop is faster. {machine()}\n"]
    measured = {}
    for sizes, batch in options.networks:
        base = Task(sizes, batch, "", options.samples, options.seconds, tuple(options.cores), options.clock)
        for optimizer in options.optimizers:
            task = replace(base, optimizer=optimizer)
            print(f"{task.name}, {optimizer}", file=sys.stderr)
            measured[task] = measure(task, sides, options.rounds)
    tile = tile_gflops()
    text += [
        f"Ratios of speeds, by {options.clock} clock: median over rounds (smallest to largest)\n",
        ratio_table(measured),
    ]
    text += ["Steps/s\n", speed_table(measured)]
    text += [f"Our steps; the register tile runs at {tile:.0f} GFLOP/s\n", profile_table(measured, tile)]
    print("\n".join(text))
    if options.output:
        options.output.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
