"""distprop's turn in steps.py: python steps_distprop.py FOLDER, alone or as a rank that mpirun has started.

The engine is the one of `dp.train`, on arrays in memory; who looks on takes the time at the end of each epoch.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from steps_task import BETA1, BETA2, CHECKED_STEPS, CLOCKS, EPSILON, MOMENTUM, Task, load_task

from distprop.comm.communicator import Communicator
from distprop.comm.serial import Serial
from distprop.config import resolve
from distprop.config.data import Data
from distprop.config.layers import Dense
from distprop.config.losses import SoftmaxCrossEntropy
from distprop.config.optimizers import Adam, Momentum, Optimizer
from distprop.config.run import Config, Network, Training
from distprop.data.dataset import Dataset
from distprop.environment import rank_by_environment
from distprop.errors import Interrupted
from distprop.training import loop
from distprop.training.checkpoint import Progress
from distprop.training.evaluation import Evaluation
from distprop.training.run import Material, compile_kernels
from distprop.training.step import StepResult

SEED = 0


@dataclass
class Stopwatch(loop.Silent):
    """Notes the first losses and the ends of epochs, and asks for a stop once there is enough."""

    seconds: float
    now: Callable[[], float]
    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    splits: list[Mapping[str, float]] = field(default_factory=list)
    split: Mapping[str, float] = field(default_factory=dict)
    enough: bool = False

    def wish(self, progress: Progress) -> int:
        return loop.STOP if self.enough else 0

    def step_done(
        self, progress: Progress, result: StepResult, learning_rate: float, seconds: Mapping[str, float]
    ) -> None:
        self.split = seconds
        if len(self.losses) < CHECKED_STEPS:
            self.losses.append(result.loss / result.weight)

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        self.ends.append(self.now())
        self.splits.append({**self.split, "whole": time.perf_counter()})
        self.enough = len(self.ends) >= 4 and self.ends[-1] - self.ends[1] >= self.seconds

    def report(self) -> str:
        """Two epochs are not counted, as with the peers. split: wall-clock seconds of an epoch, by kind."""
        ends, last, first = self.ends[1:], self.splits[-1], self.splits[1]
        split = {name: (last[name] - first[name]) / (len(ends) - 1) for name in last}
        seconds = [after - before for before, after in pairwise(ends)]
        return json.dumps({"losses": self.losses, "seconds": seconds, "split": split})


def engine(task: Task, comm: Communicator, observer: loop.Observer) -> loop.Training:
    """What `dp.train` makes of arrays in memory."""
    dataset, encoding = Dataset.from_arrays(*task.data())
    *hidden, last = task.sizes[1:]
    layers = (*(Dense(units, "relu") for units in hidden), Dense(last))
    optimizer: Optimizer = Momentum(task.rate, MOMENTUM)
    if task.optimizer == "adam":
        optimizer = Adam(task.rate, BETA1, BETA2, EPSILON)
    config = Config(
        data=Data("arrays-in-memory.npz", target_kind="classes"),
        network=Network(layers, SoftmaxCrossEntropy()),
        optimizer=optimizer,
        training=Training(epochs=1_000_000, batch_size=task.batch),
        seed=SEED,
    )
    config = resolve(config, Path.cwd())
    compile_kernels(config, Material(dataset, None, encoding, ""), comm, lambda: None)
    return loop.Training(config, comm, dataset, None, encoding, observer, "")


def communicator() -> Communicator:
    if rank_by_environment() is None:
        return Serial()
    from distprop.comm.mpi import Mpi

    return Mpi()


def main(folder: Path) -> None:
    task, comm = load_task(folder), communicator()
    if comm.size > 1:
        os.sched_setaffinity(0, {task.cores[comm.rank]})
    stopwatch = Stopwatch(task.seconds, CLOCKS[task.clock])
    try:
        engine(task, comm, stopwatch).run()
    except Interrupted:  # as the stopwatch asked
        if comm.rank == 0:
            print(stopwatch.report(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
