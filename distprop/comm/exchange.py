"""From every rank's partial gradients to the same updated parameters on every rank.

Mathematically an allreduce of the gradients, then the same update everywhere. Physically (form "ordered"): each rank
owns a slice of the flat vectors, sums that slice over all partial gradients in the order of the tree over shards
(reduce-scatter), updates it, and hands it to all others (allgather). On one machine the vectors lie in shared memory:
the first is a sum over memory that others have written, the last nothing but waiting (`Shared`). Between machines
slices travel as messages (`Messages`). `Allreduce` is the textbook form, whose bits depend on the number of ranks and
on the MPI library; it stays as the yardstick.

An exchange is lists of calls, which become part of the step's tape: kernels where memory is shared, collectives where
it isn't.
"""

from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Communicator
from distprop.comm.shards import Node, nodes_of_ranks, plan_depth, summation_plan
from distprop.errors import UsageError
from distprop.kernels import step, tree
from distprop.kernels.barrier import wait_for_ranks
from distprop.kernels.norms import BLOCK
from distprop.kernels.tape import Call

TAIL = 2  # sums that travel with the gradient: loss, and the weight of what was classified right
WORDS = 8  # integers that each rank tells all others in a step: a cache line


class Exchange(Protocol):
    """One step's communication.

    nodes: this rank's canonical nodes of the tree over shards, one partial gradient each.
    owned: the slice of the flat vectors that this rank updates.
    params (length,): the parameters, which all ranks see alike after `share`.

    Written before the exchange, by this rank: partials (len(nodes), length), the partial gradients;
    tails (len(nodes), TAIL) float64, sums over a node's samples; words (WORDS,) int64, what it tells the others;
    blocks (ceil(owned / BLOCK),) float64, the sums of squares of the owned slice's blocks.
    """

    nodes: tuple[Node, ...]
    owned: slice
    params: Array
    partials: Array
    tails: Array
    words: Array
    blocks: Array

    parts: Array
    """After `collect`: the owned slice of the gradient is their sum, in the tree's order, parts (K, owned)."""

    totals: Array
    """After `agree`: the tails (TAIL,) of all shards, summed in the tree's order."""
    all_words: Array
    """After `agree`: (size, WORDS)."""
    all_blocks: Array
    """After `agree`: those of the whole gradient."""

    def collect(self) -> list[Call]:
        """Bring the parts of the owned slice together."""

    def sum_parts(self, gradient: Array, columns: slice) -> list[Call]:
        """gradient (n,) = the sum of the parts' columns; `parts` has more than one row."""

    def agree(self) -> list[Call]:
        """Let all ranks know the same totals, words and blocks."""

    def share(self) -> list[Call]:
        """Make every rank's owned slice of the parameters known to all."""

    def agree_and_share(self) -> list[Call]:
        """Both, where nothing has to be known before the update."""

    def gather(self, mine: Array) -> Array:
        """A whole vector (length,) of every rank's slice `mine`, as of the optimizer's state: a collective."""

    def waiting(self) -> None:
        """Called now and then while this rank waits for others; raises if they won't come."""


def slice_cuts(length: int, size: int) -> list[int]:
    """Where the flat vectors are cut into one slice a rank: at multiples of BLOCK, so that a block has one owner."""
    blocks = -(-length // BLOCK)
    return [min(length, rank * blocks // size * BLOCK) for rank in range(size + 1)]


def check_ranks(size: int, shards: int) -> None:
    """UsageError if there are more ranks than shards."""
    if size > shards:
        raise UsageError(
            f"{size} ranks, but a minibatch has only {shards} shards: start at most {shards} ranks, "
            f"or set shards = {size} or more under [training]"
        )


class _Tree:
    """Who has which nodes of the tree over shards, and how the parts of all ranks are summed."""

    def __init__(self, comm: Communicator, shards: int, dtype: npt.DTypeLike) -> None:
        check_ranks(comm.size, shards)
        by_rank = nodes_of_ranks(comm.size, shards)
        self.nodes = by_rank[comm.rank]
        self.counts = [len(nodes) for nodes in by_rank]
        first = sum(self.counts[: comm.rank])
        self.rows = slice(first, first + len(self.nodes))  # of this rank, among the parts of all
        self._plan = summation_plan([node for nodes in by_rank for node in nodes], (0, shards))
        self._scratch = np.empty((plan_depth(self._plan), tree.BLOCK), dtype)
        self._tail_scratch = np.empty(self._scratch.shape, np.float64)

    def sum(self, out: Array, parts: Array) -> Call:
        """out (L,) = the parts (sum(counts), L) of all ranks, in the tree's order."""
        return Call(
            tree.tree_sum, (out, parts, self._plan, self._scratch), "gradient = tree_sum(partial gradients)", "exchange"
        )

    def sum_tails(self, totals: Array, tails: Array) -> Call:
        arguments = (totals, tails, self._plan, self._tail_scratch)
        return Call(tree.tree_sum, arguments, "loss, correct = tree_sum(those of the nodes)", "exchange")


class _Sliced:
    """What both ordered forms share: each rank owns a slice of the flat vectors."""

    parts: Array

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        self._comm, self._length = comm, length
        self._tree = _Tree(comm, shards, dtype)
        self.nodes = self._tree.nodes
        self._cuts = slice_cuts(length, comm.size)
        self._block_cuts = [-(-cut // BLOCK) for cut in self._cuts]
        self.owned = slice(self._cuts[comm.rank], self._cuts[comm.rank + 1])
        self._owned_blocks = slice(self._block_cuts[comm.rank], self._block_cuts[comm.rank + 1])
        self.totals = np.zeros(TAIL)
        self.all_words = np.zeros((comm.size, WORDS), np.int64)

    def sum_parts(self, gradient: Array, columns: slice) -> list[Call]:
        return [self._tree.sum(gradient, self.parts[:, columns])]

    def gather(self, mine: Array) -> Array:
        vector: Array = np.zeros(self._length, mine.dtype)
        vector[self.owned] = mine
        self._comm.allgather_slices(vector, self._cuts)
        return vector

    def waiting(self) -> None:
        self._comm.check()


class Shared(_Sliced):
    """All ranks on one machine: one copy of the parameters, and partial gradients are read where they lie."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        super().__init__(comm, length, shards, dtype)
        self.params = comm.shared_zeros((length,), dtype)
        every_part = comm.shared_zeros((sum(self._tree.counts), length), dtype)
        self._all_tails = comm.shared_zeros((sum(self._tree.counts), TAIL), np.float64)
        self._every_word = comm.shared_zeros((comm.size, WORDS), np.int64)
        self.all_blocks = comm.shared_zeros((self._block_cuts[-1],), np.float64)
        self.partials, self.tails = every_part[self._tree.rows], self._all_tails[self._tree.rows]
        self.words, self.blocks = self._every_word[comm.rank], self.all_blocks[self._owned_blocks]
        self.parts = every_part[:, self.owned]
        self._arrivals, self._target = comm.shared_zeros((1,), np.int64), np.zeros(1, np.int64)

    def collect(self) -> list[Call]:
        return self._wait()

    def agree(self) -> list[Call]:
        return [*self._wait(), *self._conclude()]

    def share(self) -> list[Call]:
        return self._wait()

    def agree_and_share(self) -> list[Call]:
        return [*self._conclude(), *self._wait()]  # tails and words are there since `collect`

    def _conclude(self) -> list[Call]:
        """Read what others write again as soon as the next barrier is behind them."""
        copy = Call(step.copy_words, (self.all_words, self._every_word), "words = those of all ranks", "exchange")
        return [self._tree.sum_tails(self.totals, self._all_tails), copy]

    def _wait(self) -> list[Call]:
        if self._comm.size == 1:
            return []
        arguments = (self._arrivals, self._target, self._comm.size)
        return [Call(wait_for_ranks, arguments, "wait_for_ranks()", "wait")]


class Messages(_Sliced):
    """Ranks on several machines: reduce-scatter and allgather by messages."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        super().__init__(comm, length, shards, dtype)
        counts, blocks = self._tree.counts, np.diff(self._block_cuts)
        self.params = np.zeros(length, dtype)
        self.partials = np.zeros((len(self.nodes), length), dtype)
        self.parts = np.empty((sum(counts), self.owned.stop - self.owned.start), dtype)
        self._word_end, self._tail_end = WORDS, WORDS + TAIL * max(counts)
        self._mine = np.zeros(self._tail_end + max(blocks))  # one length for all ranks
        self._everyones = np.zeros((comm.size, len(self._mine)))
        self.words = np.zeros(WORDS, np.int64)
        self.tails = self._mine[WORDS:][: TAIL * len(self.nodes)].reshape(-1, TAIL)
        self.blocks = self._mine[self._tail_end :][: blocks[comm.rank]]
        self._all_tails, self.all_blocks = np.zeros((sum(counts), TAIL)), np.zeros(self._block_cuts[-1])

    def collect(self) -> list[Call]:
        return [Call(self._scatter, (), "scatter_slices(partial gradients)", "exchange")]

    def agree(self) -> list[Call]:
        tell = Call(self._tell, (), "allgather(words, tails, blocks)", "exchange")
        return [tell, self._tree.sum_tails(self.totals, self._all_tails)]

    def share(self) -> list[Call]:
        return [Call(self._comm.allgather_slices, (self.params, self._cuts), "allgather_slices(params)", "exchange")]

    def agree_and_share(self) -> list[Call]:
        return [*self.agree(), *self.share()]

    def _scatter(self) -> None:
        self._comm.scatter_slices(self.partials, self.parts, self._tree.counts, self._cuts)

    def _tell(self) -> None:
        """The small message of each step: [words, tails of each node, block sums]."""
        self._mine[:WORDS] = self.words
        self._comm.allgather(self._mine, self._everyones)
        self.all_words[:] = self._everyones[:, :WORDS]
        row = 0
        for rank, count in enumerate(self._tree.counts):
            tails = self._everyones[rank, WORDS:][: TAIL * count]
            self._all_tails[row : row + count] = tails.reshape(count, TAIL)
            row += count
        for rank, (first, last) in enumerate(pairwise(self._block_cuts)):
            self.all_blocks[first:last] = self._everyones[rank, self._tail_end :][: last - first]


class Allreduce:
    """A plain MPI_Allreduce and the whole update on every rank."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        self._comm = comm
        self._small = Messages(comm, 0, shards, dtype)  # whose message tells words and tails
        self.nodes, self.owned = self._small.nodes, slice(0, length)
        self.params = np.zeros(length, dtype)
        self.partials = np.zeros((len(self.nodes), length), dtype)
        self.parts = self.partials[:1]
        self.tails, self.words = self._small.tails, self._small.words
        self.totals, self.all_words = self._small.totals, self._small.all_words
        self.blocks = self.all_blocks = np.zeros(-(-length // BLOCK))

    def collect(self) -> list[Call]:
        return [Call(self._allreduce, (), "gradient = allreduce(partial gradients)", "exchange")]

    def sum_parts(self, gradient: Array, columns: slice) -> list[Call]:
        raise AssertionError("there is one part only")

    def _allreduce(self) -> None:
        for part in self.partials[1:]:
            self.partials[0] += part
        self._comm.allreduce(self.partials[0])

    def agree(self) -> list[Call]:
        return self._small.agree()

    def share(self) -> list[Call]:
        return []

    def agree_and_share(self) -> list[Call]:
        return self.agree()

    def gather(self, mine: Array) -> Array:
        return mine

    def waiting(self) -> None:
        self._comm.check()


def make_exchange(form: str, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> Exchange:
    """The exchange that training.exchange names: "ordered" or "allreduce"."""
    if form == "allreduce":
        return Allreduce(comm, length, shards, dtype)
    return (Shared if comm.shares_memory else Messages)(comm, length, shards, dtype)
