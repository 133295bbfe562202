"""MPI ranks, by mpi4py's buffer calls. Importing this file initialises MPI."""

import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from itertools import groupby, pairwise
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

from distprop.comm.communicator import Array, Message  # noqa: E402

LOOK_S = 0.001  # how often messages are helped on their way while a rank computes, or has waited long
SPIN_S = 0.0005  # how long a rank looks for its messages all the time: others may need the core


class Mpi:
    """The ranks of mpirun, numbered so that those of a machine follow each other; rank 0 stays rank 0."""

    def __init__(self, comm: MPI.Intracomm = MPI.COMM_WORLD) -> None:
        self._machine = MPI.Intracomm(comm.Split_type(MPI.COMM_TYPE_SHARED))
        first = self._machine.bcast(comm.Get_rank())
        self._comm = comm.Split(key=first)
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        self.machines = tuple(len(list(ranks)) for _, ranks in groupby(self._comm.allgather(first)))
        self.shares_memory: bool = len(self.machines) == 1
        self._windows: list[MPI.Win] = []
        self._pump = _Pump(self._comm)

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        kind, is_first = np.dtype(dtype), self._machine.Get_rank() == 0
        size = math.prod(shape) * kind.itemsize
        window = MPI.Win.Allocate_shared(size if is_first else 0, kind.itemsize, comm=self._machine)
        window.Lock_all()  # for good: barriers and Sync order what ranks read and write
        self._windows.append(window)
        memory: Any = window.Shared_query(0)[0]
        array: Array = np.ndarray(shape, kind, buffer=memory)
        if is_first:
            array[...] = 0
        self.barrier()
        return array

    def arrivals(self) -> tuple[Array, int]:
        return self.shared_zeros((1,), np.int64), self._machine.Get_size()

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

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> "_Traffic":
        requests = [self._comm.Recv_init(array, peer, tag) for peer, tag, array in receives]
        requests += [self._comm.Send_init(array, peer, tag) for peer, tag, array in sends]
        return _Traffic(requests, self._pump)

    def allreduce(self, vector: Array) -> None:
        self._comm.Allreduce(MPI.IN_PLACE, vector, op=MPI.SUM)


class _Traffic:
    def __init__(self, requests: list[MPI.Prequest], pump: "_Pump") -> None:
        self._requests, self._pump = requests, pump
        self._is_under_way = False

    def start(self) -> None:
        if self._requests:
            MPI.Prequest.Startall(self._requests)
            self._is_under_way = True
            self._pump.more()

    def has_arrived(self) -> bool:
        if self._is_under_way and MPI.Prequest.Testall(self._requests):
            self._is_under_way = False
            self._pump.less()
        return not self._is_under_way

    def wait(self) -> None:
        patience = time.perf_counter() + SPIN_S
        while not self.has_arrived():
            if time.perf_counter() > patience:
                time.sleep(LOOK_S)


class _Pump:
    """A thread that calls MPI now and then while messages are under way: they move only inside of MPI's calls."""

    def __init__(self, comm: MPI.Comm) -> None:
        self._comm, self._under_way, self._needed = comm, 0, threading.Event()
        self._thread: threading.Thread | None = None

    def more(self) -> None:
        self._under_way += 1
        self._needed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def less(self) -> None:
        self._under_way -= 1
        if self._under_way == 0:
            self._needed.clear()

    def _run(self) -> None:
        while True:
            self._needed.wait()
            self._comm.Iprobe(MPI.ANY_SOURCE, MPI.ANY_TAG)
            time.sleep(LOOK_S)


def some_of_all(takes_part: bool) -> Mpi | None:
    """Those ranks of mpirun that take part, among themselves; None on the others: a collective of all."""
    part = MPI.COMM_WORLD.Split(0 if takes_part else MPI.UNDEFINED)
    return Mpi(MPI.Intracomm(part)) if takes_part else None


def wait_quietly() -> None:
    """A barrier of all ranks of mpirun in which they leave their cores to others."""
    request = MPI.COMM_WORLD.Ibarrier()
    while not request.Test():
        time.sleep(LOOK_S)


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
