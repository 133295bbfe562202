"""Ranks as threads of one process: for tests, for compiling before real ranks start, and for a debugger."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array

Result = TypeVar("Result")


class _Team:
    """What the ranks of one group share: a table of what each has to offer, and a barrier."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.offers: list[Any] = [None] * size


class Threads:
    """With shares_memory False, ranks behave as if they were on several machines."""

    def __init__(self, rank: int, team: _Team, shares_memory: bool = True) -> None:
        self.rank, self.shares_memory = rank, shares_memory
        self.size = len(team.offers)
        self._team = team

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
        array: Array = self._collect(np.zeros(shape, dtype), lambda offers: offers[0])
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

    def scatter_slices(self, parts: Array, out: Array, counts: Sequence[int], cuts: Sequence[int]) -> None:
        own = slice(cuts[self.rank], cuts[self.rank + 1])
        self._collect(parts, lambda offers: np.concatenate([other[:, own] for other in offers], out=out))

    def allreduce(self, vector: Array) -> None:
        vector[:] = self._collect(vector.copy(), lambda offers: sum(offers[1:], offers[0].copy()))


def run_ranks(size: int, work: Callable[[Threads], Result], shares_memory: bool = True) -> list[Result]:
    """Run work(comm) on `size` ranks; their results by rank, or the first error of any of them."""
    team = _Team(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(Threads(rank, team, shares_memory))
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
