"""One rank that is alone and does what one of many would do: nobody answers it, and it waits for nothing.

What it computes is of no use, but it takes as long as it would among the others.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Message
from distprop.comm.serial import Serial

AGREE = -1  # in a mark: the small message of all to all


class Mark(NamedTuple):
    """That messages would have set off, or been waited for: those of which traffic, or AGREE; in seconds of a clock."""

    traffic: int
    starts: bool
    seconds: float


class StandIn(Serial):
    """marks: in the order of time. traffics: how many there are."""

    def __init__(self, rank: int, machines: Sequence[int]) -> None:
        self.rank, self.size = rank, sum(machines)
        self.machines, self.shares_memory = tuple(machines), len(machines) == 1
        self.marks: list[Mark] = []
        self.traffics = self.agreed_bytes = self.shared_bytes = 0

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        zeros: Array = np.zeros(shape, dtype)
        self.shared_bytes += zeros.nbytes
        return zeros

    def allgather(self, mine: Array, out: Array) -> None:
        self.agreed_bytes = mine.nbytes
        self.marks.append(Mark(AGREE, starts=False, seconds=time.perf_counter()))
        out[:] = mine.reshape(out[0].shape)

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> "_Traffic":
        self.traffics += 1
        return _Traffic(self.traffics - 1, self.marks)


class _Traffic:
    def __init__(self, number: int, marks: list[Mark]) -> None:
        self._number, self._marks = number, marks

    def start(self) -> None:
        self._marks.append(Mark(self._number, starts=True, seconds=time.perf_counter()))

    def has_arrived(self) -> bool:
        return True  # there is nothing to wait for

    def wait(self) -> None:
        self._marks.append(Mark(self._number, starts=False, seconds=time.perf_counter()))
