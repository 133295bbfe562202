"""distprop's own training in a benchmark: the engine of `dp.train`, which trains as many epochs a turn as asked for."""

import contextlib
import time
from collections.abc import Callable, Mapping
from itertools import pairwise

from conversation import Conversation

from distprop.comm.communicator import Array, Communicator
from distprop.comm.serial import Serial
from distprop.comm.shared import wait_calls
from distprop.config.run import Config
from distprop.environment import rank_by_environment
from distprop.errors import Interrupted
from distprop.kernels.tape import Tape
from distprop.training import loop
from distprop.training.checkpoint import Progress
from distprop.training.evaluation import Evaluation
from distprop.training.run import Material, compile_kernels
from distprop.training.step import PHASES, StepsResult

Clock = Callable[[], float]
BARRIERS, RUNS = 50, 20


class Barrier:
    """Of ranks, for nothing: how far apart their cores are, which may change on virtual machines."""

    def __init__(self, comm: Communicator) -> None:
        self._comm, self._tape = comm, Tape(wait_calls(*comm.arrivals()) * BARRIERS)

    def nanoseconds(self) -> float:
        """0 if there is one rank: a collective."""
        if not self._tape.calls:
            return 0.0
        while not self._tape.is_compiled:
            self._tape.run(RUNS, self._comm.check)
        begin = time.perf_counter()
        self._tape.run(RUNS, self._comm.check)
        return 1e9 * (time.perf_counter() - begin) / (BARRIERS * RUNS)


class Turns(loop.Silent):
    """Looks on, takes the time at the end of each epoch, and lets training wait there between two turns."""

    def __init__(self, talk: Conversation, now: Clock, comm: Communicator) -> None:
        self._talk, self._now = talk, now
        self._over = False
        self._barrier = Barrier(comm)

    def next_turn(self) -> None:
        """Wait for the number of epochs to train; without one training is over."""
        epochs = self._talk.question()
        self._over = epochs is None
        self._epochs = epochs
        self._ends = [self._now()]
        self._runs: list[tuple[float, Array]] = []  # when some steps began, and what ranks had spent until then
        self._begin = time.perf_counter()

    def wish(self, progress: Progress, steps: int) -> int:
        return loop.STOP if self._over else 0

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        self._runs.append((self._begin, result.seconds))
        self._begin = time.perf_counter()

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        self._ends.append(self._now())
        if len(self._ends) <= self._epochs:
            return
        (begin, before), (end, spent) = self._runs[0], self._runs[-1]
        shares = ((spent - before) / (end - begin or 1.0)).tolist()  # nothing is known of one run alone
        seconds = [after - before for before, after in pairwise(self._ends)]
        split = [dict(zip(PHASES, rank, strict=True)) for rank in shares]
        self._talk.answer({"seconds": seconds, "split": split, "barrier_ns": self._barrier.nanoseconds()})
        self.next_turn()


def make_training(config: Config, material: Material, comm: Communicator, observer: loop.Observer) -> loop.Training:
    """What the commands make of a resolved configuration and data."""
    compile_kernels(config, material, comm, lambda: None)
    return loop.Training(config, comm, material.data, material.validation, material.encoding, observer, material.digest)


def train_in_turns(
    config: Config, material: Material, comm: Communicator, talk: Conversation, now: Clock = time.perf_counter
) -> None:
    """Take turns until there are no more.

    An answer has the seconds of each epoch, by `now`, and how each rank's wall-clock was split: shares by phase; and
    the nanoseconds of a barrier.
    """
    turns = Turns(talk, now, comm)
    training = make_training(config, material, comm, turns)
    turns.next_turn()
    with contextlib.suppress(Interrupted):  # as it was asked for
        training.run()


def communicator() -> Communicator:
    """That of this process: a rank of mpirun, or one alone."""
    if rank_by_environment() is None:
        return Serial()
    from distprop.comm.mpi import Mpi

    return Mpi()
