"""The textbook form of the exchange: its bits depend on the number of ranks and on the MPI library."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from distprop.comm.agreement import Agreement
from distprop.comm.communicator import Array, Communicator
from distprop.comm.slices import Sliced, blocks_of
from distprop.kernels.memory import zeros
from distprop.kernels.norms import BLOCK
from distprop.kernels.tape import Call, Item


class Allreduce(Sliced):
    """A plain MPI_Allreduce and the whole update on every rank: the yardstick."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike, passes: int) -> None:
        super().__init__(comm, [slice(0, length)], shards, passes)
        self.owned, self.copies = (slice(0, length),), tuple(range(rank, rank + 1) for rank in range(comm.size))
        self.params = zeros((length,), dtype)
        self.partials = zeros((len(self.nodes), length), dtype)
        self.parts = (self.partials[:1],)
        self._agreement = Agreement(comm, [len(nodes) for nodes in self._by_rank], [()] * comm.size)
        self.tails, self.words = self._agreement.tails, self._agreement.words
        self.all_words = self._agreement.all_words
        self.all_blocks = np.zeros(-(-length // BLOCK))
        self.blocks = (self.all_blocks[blocks_of(self.owned[0])],)

    def forward(self, calls: Sequence[Call]) -> list[Call]:
        return list(calls)

    def backward(self, calls: Sequence[Call]) -> list[Call]:
        return list(calls)

    def backward_and_update(self, calls: Sequence[Call], update: Callable[[int], list[Call]]) -> list[Item]:
        return [*calls, *update(0), *self.agree()]

    def collect(self, bucket: int) -> list[Call]:
        return [Call(self._allreduce, (), "gradient = allreduce(partial gradients)", "exchange")]

    def sum_parts(self, bucket: int, gradient: Array, columns: slice) -> list[Call]:
        raise AssertionError("there is one part only")

    def _allreduce(self) -> None:
        for part in self.partials[1:]:
            self.partials[0] += part
        self._comm.allreduce(self.partials[0])

    def agree(self) -> list[Call]:
        return [self._agreement.call(), self._sum_tails(self._agreement.all_tails)]

    def share(self) -> list[Call]:
        return []

    def settle(self) -> None:
        pass

    def gather(self, mine: Array) -> Array:
        return mine
