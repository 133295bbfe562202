"""Ranks as threads of one process: for tests, for compiling before real ranks start, and for a debugger."""

import queue
import threading
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Message
from distprop.kernels.memory import zeros

Result = TypeVar("Result")

LOOK_S = 0.05  # how often one who waits for a message asks whether the sender is still there


class _Team:
    """What the ranks share: a table of what each has to offer, a barrier, and messages by sender, receiver and tag."""

    def __init__(self, machines: Sequence[int]) -> None:
        self.machines = tuple(machines)
        self.firsts = [first for first, n in zip(accumulate((0, *machines)), machines, strict=False) for _ in range(n)]
        size = len(self.firsts)
        self.barrier = threading.Barrier(size)
        self.offers: list[Any] = [None] * size
        self._boxes: dict[tuple[int, int, int], queue.SimpleQueue[Array]] = {}

    def box(self, sender: int, receiver: int, tag: int) -> "queue.SimpleQueue[Array]":
        """The messages between two ranks. Both may ask for it first, at once: only setdefault gives them the same."""
        return self._boxes.setdefault((sender, receiver, tag), queue.SimpleQueue())


class Threads:
    """A rank. Ranks of different machines behave as if they didn't share memory."""

    def __init__(self, rank: int, team: _Team) -> None:
        self.rank, self.size = rank, len(team.offers)
        self.machines, self.shares_memory = team.machines, len(team.machines) == 1
        self._team = team

    def arrivals(self) -> tuple[Array, int]:
        return self.shared_zeros((1,), np.int64), self._team.firsts.count(self._team.firsts[self.rank])

    def barrier(self) -> None:
        self._team.barrier.wait()

    def check(self) -> None:
        if self._team.barrier.broken:
            raise threading.BrokenBarrierError

    def _collect(self, offer: Any, take: Callable[[list[Any]], Result]) -> Result:
        """Offer something, take what all ranks offer, and leave together so that nobody's offer changes meanwhile."""
        self._team.offers[self.rank] = offer
        self.barrier()
        result = take(self._team.offers)
        self.barrier()
        return result

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        first = self._team.firsts[self.rank]
        array: Array = self._collect(zeros(shape, dtype), lambda offers: offers[first])
        return array

    def broadcast(self, text: str) -> str:
        return self._collect(text, lambda offers: str(offers[0]))

    def allgather(self, mine: Array, out: Array) -> None:
        self._collect(mine, lambda offers: np.stack(offers, out=out))

    def allgather_slices(self, vector: Array, cuts: Sequence[int]) -> None:
        def take(offers: list[Array]) -> None:
            for owner, other in enumerate(offers):
                if owner != self.rank:
                    vector[cuts[owner] : cuts[owner + 1]] = other[cuts[owner] : cuts[owner + 1]]

        self._collect(vector, take)

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> "_Traffic":
        return _Traffic(self, self._team, sends, receives)

    def allreduce(self, vector: Array) -> None:
        vector[:] = self._collect(vector.copy(), lambda offers: sum(offers[1:], offers[0].copy()))


class _Traffic:
    """What has been sent already arrives at the start, the rest while waiting: as early and as late as it can."""

    def __init__(self, rank: Threads, team: _Team, sends: Sequence[Message], receives: Sequence[Message]) -> None:
        self._rank = rank
        self._sends = [(team.box(rank.rank, peer, tag), array) for peer, tag, array in sends]
        self._receives = [(team.box(peer, rank.rank, tag), array) for peer, tag, array in receives]
        self._expected: list[tuple[queue.SimpleQueue[Array], Array]] = []

    def start(self) -> None:
        assert not self._expected
        for box, array in self._sends:
            box.put(array.copy())
        self._expected = list(self._receives)
        self.has_arrived()

    def has_arrived(self) -> bool:
        expected, self._expected = self._expected, []
        for box, array in expected:
            try:
                array[:] = box.get_nowait()
            except queue.Empty:
                self._expected.append((box, array))
        return not self._expected

    def wait(self) -> None:
        while self._expected:
            box, array = self._expected[-1]
            try:
                array[:] = box.get(timeout=LOOK_S)
            except queue.Empty:
                self._rank.check()
            else:
                self._expected.pop()


def run_ranks(size: int, work: Callable[[Threads], Result], machines: Sequence[int] | None = None) -> list[Result]:
    """Run work(comm) on `size` ranks; their results by rank, or the first error of any of them.

    machines: how many ranks each one has; by default all are on one.
    """
    team = _Team(machines or [size])
    assert len(team.offers) == size
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(Threads(rank, team))
        except BaseException as error:
            errors.append(error)
            team.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
    return results
