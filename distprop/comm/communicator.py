"""What ranks need of each other, as a protocol: serial.py, threads.py and mpi.py are its three forms.

Every rank calls every collective, in the same order. Arrays are C-contiguous and are never packed.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


class Communicator(Protocol):
    """A group of ranks."""

    @property
    def rank(self) -> int:
        """This rank's number, from 0."""

    @property
    def size(self) -> int:
        """How many ranks there are."""

    @property
    def shares_memory(self) -> bool:
        """Whether all ranks are on one machine, so that `shared_zeros` works."""

    def shared_zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """An array of zeros that is the same memory on every rank; what one writes the others see after a barrier."""

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

    def scatter_slices(self, parts: Array, out: Array, counts: Sequence[int], cuts: Sequence[int]) -> None:
        """Every rank gets its own slice of all parts.

        parts (counts[rank], length): this rank's vectors. out (sum(counts), cuts[rank+1] - cuts[rank]): the slices of
        all ranks' vectors, ordered by rank, then as they lie in `parts`.
        """

    def allreduce(self, vector: Array) -> None:
        """vector = the sum over all ranks, in an order of the library's choosing."""
