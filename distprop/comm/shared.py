"""The exchange on one machine: one copy of the parameters, and partial gradients are read where they lie."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Communicator
from distprop.comm.pool import Pool
from distprop.comm.slices import TAIL, WORDS, Sliced, blocks_of
from distprop.kernels import step
from distprop.kernels.barrier import wait_for_ranks
from distprop.kernels.memory import zeros
from distprop.kernels.tape import Call, Item


def wait_calls(arrivals: Array, ranks: int) -> list[Call]:
    """Wait for the ranks of this machine. arrivals (1,) int64: shared by them."""
    if ranks == 1:
        return []
    return [Call(wait_for_ranks, (arrivals, np.zeros(1, np.int64), ranks), "wait_for_ranks()", "wait")]


class Shared(Sliced):
    """All ranks on one machine: there is nothing to send, so there is one bucket."""

    def __init__(
        self,
        comm: Communicator,
        length: int,
        shards: int,
        dtype: npt.DTypeLike,
        passes: int,
        is_shared_out: bool = False,
    ) -> None:
        super().__init__(comm, [slice(0, length)], shards, passes)
        nodes, mine, (owned,) = len(self._all_nodes), self._rows[comm.rank], self.owned
        self.params = comm.shared_zeros((length,), dtype)
        self._all_tails = comm.shared_zeros((nodes, TAIL), np.float64)
        self._every_word = comm.shared_zeros((comm.size, WORDS), np.int64)
        self.all_blocks = comm.shared_zeros((blocks_of(self._buckets[0]).stop,), np.float64)
        self.tails = self._all_tails[mine]
        self.words, self.blocks = self._every_word[comm.rank], (self.all_blocks[blocks_of(owned)],)
        self.is_shared_out = is_shared_out
        if is_shared_out:
            self.zeros = Pool(comm).zeros
            every_part = self.partials = zeros((1, length), dtype)  # memory only where something is written
        else:
            every_part = comm.shared_zeros((nodes, length), dtype)
            self.partials = every_part[mine]
        self.parts = (every_part[:, owned],)
        self._wait = wait_calls(*comm.arrivals())

    def forward(self, calls: Sequence[Call]) -> list[Call]:
        return list(calls)

    def backward(self, calls: Sequence[Call]) -> list[Call]:
        return list(calls)

    def backward_and_update(self, calls: Sequence[Call], update: Callable[[int], list[Call]]) -> list[Item]:
        return [*calls, *update(0), *self._conclude(), *self._wait]  # tails and words are there since `collect`

    def collect(self, bucket: int) -> list[Call]:
        return self._wait

    def sum_parts(self, bucket: int, gradient: Array, columns: slice) -> list[Call]:
        text = "gradient = tree_sum(partial gradients)"
        return [self._tree_sum(gradient, self.parts[bucket][:, columns], self._all_nodes, self._root, text)]

    def agree(self) -> list[Call]:
        return [*self._wait, *self._conclude()]

    def share(self) -> list[Call]:
        return self._wait

    def _conclude(self) -> list[Call]:
        """Read what others write again as soon as the next barrier is behind them."""
        copy = Call(step.copy_words, (self.all_words, self._every_word), "words = those of all ranks", "exchange")
        return [self._sum_tails(self._all_tails), copy]

    def settle(self) -> None:
        pass
