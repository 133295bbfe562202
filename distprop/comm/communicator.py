"""What ranks need of each other, as a protocol: serial.py, threads.py and mpi.py are its three forms.

Every rank calls every collective, in the same order. Arrays are C-contiguous and are never packed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


class Message(NamedTuple):
    """An array (n,) that is sent to a rank or comes from it; a pair of ranks has one message under way with a tag."""

    peer: int
    tag: int
    array: Array


class Traffic(Protocol):
    """Messages that are sent and received together, again and again."""

    def start(self) -> None:
        """Set off. Until `wait` nobody may write what is sent, nor touch where something is to arrive."""

    def has_arrived(self) -> bool:
        """Whether `wait` would return at once; it helps messages on their way."""

    def wait(self) -> None:
        """Return when all has been sent and has arrived; at once if nothing is under way."""


class Communicator(Protocol):
    """A group of ranks."""

    @property
    def rank(self) -> int:
        """This rank's number, from 0."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    @property
    def machines(self) -> tuple[int, ...]:
        """How many ranks are on each machine: the first ones on the first machine, and so on."""

    @property
    def shares_memory(self) -> bool:
        """Whether all ranks are on one machine."""

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An array of zeros that is the same memory on every rank of a machine: a collective of all ranks.

        What one of them writes the others see after a barrier.
        """

    def arrivals(self) -> tuple[Array, int]:
        """For kernels/barrier.py: a count (1,) int64 that this machine's ranks share, and how many they are.

        A collective of all ranks.
        """

    def barrier(self) -> None:
        """Wait for all ranks."""

    def check(self) -> None:
        """Raise if other ranks are known to be gone: called now and then while waiting for them in shared memory."""

    def broadcast(self, text: str) -> str:
        """Rank 0's text, on every rank."""

    def allgather(self, mine: Array, out: Array) -> None:
        """out (size, n) = the rows mine (n,) of all ranks, in their order."""

    def allgather_slices(self, vector: Array, cuts: Sequence[int]) -> None:
        """Rank r's vector[cuts[r]:cuts[r+1]] is copied into every rank's vector."""

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> Traffic:
        """Messages of this rank, to be started when it likes; they travel while it computes. No collective."""

    def allreduce(self, vector: Array) -> None:
        """vector = the sum over all ranks, in an order of the library's choosing."""
