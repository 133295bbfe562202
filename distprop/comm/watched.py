"""A communicator that notes in a rank's pulse what it waits for."""

from collections.abc import Sequence

import numpy.typing as npt

from distprop.comm.communicator import Array, Communicator, Message, Traffic
from distprop.heartbeat.pulse import Pulse


class Watched:
    """Another communicator, with a pulse."""

    def __init__(self, comm: Communicator, pulse: Pulse) -> None:
        self._comm, self._pulse = comm, pulse
        self.rank, self.size = comm.rank, comm.size
        self.machines, self.shares_memory = comm.machines, comm.shares_memory
        pulse.rank = comm.rank

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        self._pulse.wait("shared memory")
        zeros = self._comm.shared_zeros(shape, dtype)
        self._pulse.go_on()
        return zeros

    def arrivals(self) -> tuple[Array, int]:
        self._pulse.wait("shared memory")
        found = self._comm.arrivals()
        self._pulse.go_on()
        return found

    def barrier(self) -> None:
        self._pulse.wait("a barrier")
        self._comm.barrier()
        self._pulse.go_on()

    def check(self) -> None:
        self._pulse.look()
        self._comm.check()

    def broadcast(self, text: str) -> str:
        self._pulse.wait("a broadcast")
        text = self._comm.broadcast(text)
        self._pulse.go_on()
        return text

    def allgather(self, mine: Array, out: Array) -> None:
        self._pulse.wait(f"an allgather of {out.nbytes} bytes")
        self._comm.allgather(mine, out)
        self._pulse.go_on()

    def allgather_slices(self, vector: Array, cuts: Sequence[int]) -> None:
        self._pulse.wait(f"an allgather of {vector.nbytes} bytes")
        self._comm.allgather_slices(vector, cuts)
        self._pulse.go_on()

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> Traffic:
        peers = ", ".join(str(peer) for peer in sorted({message.peer for message in receives}))
        return _Traffic(self._comm.traffic(sends, receives), self._pulse, f"messages of rank {peers}")

    def allreduce(self, vector: Array) -> None:
        self._pulse.wait(f"an allreduce of {vector.nbytes} bytes")
        self._comm.allreduce(vector)
        self._pulse.go_on()


class _Traffic:
    def __init__(self, traffic: Traffic, pulse: Pulse, what: str) -> None:
        self._traffic, self._pulse, self._what = traffic, pulse, what
        self.start, self.has_arrived = traffic.start, traffic.has_arrived

    def wait(self) -> None:
        self._pulse.wait(self._what)
        self._traffic.wait()
        self._pulse.go_on()
