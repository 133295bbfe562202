"""One rank alone: every collective is already done."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Message, Traffic
from distprop.kernels.memory import zeros


class Serial:
    rank = 0
    size = 1
    machines: tuple[int, ...] = (1,)
    shares_memory = True

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return zeros(shape, dtype)

    def arrivals(self) -> tuple[Array, int]:
        return np.zeros(1, np.int64), 1

    def barrier(self) -> None:
        pass

    def check(self) -> None:
        pass

    def broadcast(self, text: str) -> str:
        return text

    def allgather(self, mine: Array, out: Array) -> None:
        out[0] = mine

    def allgather_slices(self, vector: Array, cuts: Sequence[int]) -> None:
        pass

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> Traffic:
        raise AssertionError("there is nobody else")

    def allreduce(self, vector: Array) -> None:
        pass
