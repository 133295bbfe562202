"""The sides of overlap.py: python overlap_distprop.py ROWS ROUNDS NETWORK CONVERSATION, a rank of mpirun.

ROWS: of a minibatch, on each rank. The sides are trainings in the same processes, which take turns of a few steps, so
that what disturbs the machine hits all alike. Some have their large messages left out, so their numbers are nonsense;
the small message that all ranks wait for stays.
"""

import contextlib
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import psutil
from conversation import Conversation
from engine import make_training
from steps_distprop import config_of, material_of
from steps_task import Task

from distprop.comm.communicator import Message, Traffic
from distprop.comm.mpi import Mpi
from distprop.errors import Interrupted
from distprop.training import loop
from distprop.training.checkpoint import Progress
from distprop.training.step import StepsResult

IDLE = ("idle", "iowait", "steal")
STEPS = 8  # of a turn, of which the first isn't counted: nothing is under way when it begins


class Nothing:
    """Messages that are left out; what would have come are zeros."""

    def start(self) -> None:
        pass

    def has_arrived(self) -> bool:
        return True

    def wait(self) -> None:
        pass


class Mutable(Mpi):
    """Ranks whose large messages can be left out."""

    is_mute = False

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> Traffic:
        return Nothing() if self.is_mute else super().traffic(sends, receives)


class Stopwatch(loop.Silent):
    """Takes the time of each step, and ends a turn."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def most_steps(self, progress: Progress) -> int:
        return 1

    def wish(self, progress: Progress, steps: int) -> int:
        return loop.STOP if len(self.ends) == STEPS - 1 else 0

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        self.ends.append(time.perf_counter())


class Side:
    def __init__(self, comm: Mutable, network: str, rows: int, is_mute: bool) -> None:
        batch = rows * comm.size
        task = Task(tuple(map(int, network.split("-"))), batch, "adam", batch * STEPS)
        comm.is_mute, self._watch = is_mute, Stopwatch()
        # As many shards as ranks: then no rank sends more than one partial gradient.
        config = config_of(task, shards=comm.size)
        # Parameters that do not change stay alike on all ranks, as they must, if none is told of the others either.
        config = replace(config, optimizer=replace(config.optimizer, learning_rate=1e-60))  # 0 as a float32
        self._training = make_training(config, material_of(task), comm, self._watch)

    def turn(self) -> tuple[float, float]:
        """The median of a step's milliseconds, and the share of this machine's cores that was busy."""
        self._watch.ends.clear()
        before = psutil.cpu_times()
        with contextlib.suppress(Interrupted):
            self._training.run()
        spent = [end - begin for begin, end in zip(before, psutil.cpu_times(), strict=True)]
        idle = sum(seconds for name, seconds in zip(before._fields, spent, strict=True) if name in IDLE)
        seconds = statistics.median(after - before for before, after in pairwise(self._watch.ends))
        return 1e3 * seconds, 1 - idle / sum(spent)


def main(rows: int, rounds: int, network: str, conversation: Path) -> None:
    comm = Mutable()
    talk = Conversation(conversation, comm.rank)
    sides = {
        name: Side(comm, network, few_or_many, is_mute)
        for name, few_or_many, is_mute in [
            ("both", rows, False), ("compute", rows, True), ("few, both", 1, False), ("few, compute", 1, True)
        ]
    }  # fmt: skip
    for side in sides.values():
        side.turn()
    taken = [{name: side.turn() for name, side in sides.items()} for _ in range(rounds)]
    talk.answer({name: [turn[name] for turn in taken] for name in sides})


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
