"""MPI ranks, by mpi4py's buffer calls. Importing this file initialises MPI."""

import math
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

# What MPI reads when it is initialised; a variable that is set already stays. A rank that waits gives its core away:
# where other processes need it too, two ranks have run three times as fast, and a yield costs less than a microsecond.
SETTINGS = {
    "OMPI_MCA_osc": "^ucx",  # that component prints errors when a shared window is made
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

from mpi4py import MPI  # noqa: E402 (reads the settings)

from distprop.comm.communicator import Array  # noqa: E402


class Mpi:
    def __init__(self, comm: MPI.Intracomm = MPI.COMM_WORLD) -> None:
        self._comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        machine = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.shares_memory: bool = machine.Get_size() == self.size
        machine.Free()
        self._windows: list[MPI.Win] = []
        self._slices: dict[tuple[object, ...], list[MPI.Datatype]] = {}

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        window = MPI.Win.Allocate_shared(size if self.rank == 0 else 0, kind.itemsize, comm=self._comm)
        window.Lock_all()  # for good: barriers and Sync order what ranks read and write
        self._windows.append(window)
        memory: Any = window.Shared_query(0)[0]
        array: Array = np.ndarray(shape, kind, buffer=memory)
        if self.rank == 0:
            array[...] = 0
        self.barrier()
        return array

    def barrier(self) -> None:
        for window in self._windows:
            window.Sync()
        self._comm.Barrier()
        for window in self._windows:
            window.Sync()

    def check(self) -> None:
        pass  # who finds a rank gone ends all of them

    def broadcast(self, text: str) -> str:
        length = np.array([len(text.encode())], dtype=np.int64)
        self._comm.Bcast(length, root=0)
        buffer = bytearray(text.encode() if self.rank == 0 else int(length[0]))
        self._comm.Bcast([buffer, MPI.BYTE], root=0)
        return buffer.decode()

    def allgather(self, mine: Array, out: Array) -> None:
        self._comm.Allgather(mine, out)

    def allgather_slices(self, vector: Array, cuts: Sequence[int]) -> None:
        counts = [last - first for first, last in pairwise(cuts)]
        self._comm.Allgatherv(MPI.IN_PLACE, [vector, counts, list(cuts[:-1]), MPI._typedict[vector.dtype.char]])

    def scatter_slices(self, parts: Array, out: Array, counts: Sequence[int], cuts: Sequence[int]) -> None:
        item, length = parts.itemsize, cuts[self.rank + 1] - cuts[self.rank]
        types = self._slice_types(parts, cuts)
        send = [parts, [1] * self.size, [cut * item for cut in cuts[:-1]], types]
        rows = np.concatenate([[0], np.cumsum(counts)])[:-1]
        element = MPI._typedict[parts.dtype.char]
        receive = [
            out,
            [count * length for count in counts],
            [int(row) * length * item for row in rows],
            [element] * self.size,
        ]
        self._comm.Alltoallw(send, receive)

    def _slice_types(self, parts: Array, cuts: Sequence[int]) -> list[MPI.Datatype]:
        """For each rank the datatype "its slice of every row of parts", so that MPI reads it where it lies."""
        key = (parts.shape, parts.dtype.char, tuple(cuts))
        if key not in self._slices:
            element = MPI._typedict[parts.dtype.char]
            self._slices[key] = [
                element.Create_vector(parts.shape[0], last - first, parts.shape[1]).Commit()
                for first, last in pairwise(cuts)
            ]
        return self._slices[key]

    def allreduce(self, vector: Array) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, vector, op=MPI.SUM)


def abort(code: int) -> None:
    """End all ranks now: one of them can't go on. No collective, so it works whatever the others do."""
    MPI.COMM_WORLD.Abort(code)


def end_all_ranks_on_exceptions() -> None:
    """From now on an exception that nobody catches ends all ranks: they would wait for this one for ever."""
    if sys.excepthook is sys.__excepthook__:  # else somebody has other plans for exceptions
        sys.excepthook = _end_all_ranks


def _end_all_ranks(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    sys.stderr.flush()
    MPI.COMM_WORLD.Abort(getattr(error, "exit_code", 1))
