"""From every rank's partial gradients to the same updated parameters on every rank.

Mathematically an allreduce of the gradients, then the same update everywhere. Physically (`Ordered`): each rank owns a
slice of the flat vectors, sums that slice over all partial gradients in the order of the tree over shards
(reduce-scatter), updates it, and hands it to all others (allgather). `Allreduce` is the textbook form, whose bits
depend on the number of ranks and on the MPI library; it stays as the yardstick.
"""

from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Communicator
from distprop.comm.shards import Node, nodes_of_ranks, plan_depth, summation_plan
from distprop.errors import UsageError
from distprop.kernels import tree
from distprop.kernels.norms import BLOCK


class Exchange(Protocol):
    """One step's communication.

    nodes: this rank's canonical nodes of the tree over shards, one partial gradient each.
    partials (len(nodes), length): where the backward pass writes them.
    owned: the slice of the flat vectors that this rank updates.
    """

    nodes: tuple[Node, ...]
    partials: Array
    owned: slice

    def reduce(self) -> Array:
        """The owned slice of the minibatch's gradient."""

    def agree(self, tails: Array, blocks: Array, wish: int) -> "Agreement":
        """What every rank must know alike before the update: tails (len(nodes), T) summed over all shards in the tree's
        order, the owned slices' block sums beside each other, and all ranks' wishes (bits).
        """

    def share(self, params: Array) -> None:
        """Make every rank's owned slice of the parameters known to all."""


class Agreement:
    """What all ranks know alike after a step's exchange."""

    def __init__(self, totals: npt.NDArray[np.float64], blocks: npt.NDArray[np.float64], wishes: int) -> None:
        self.totals = totals
        self.blocks = blocks
        self.wishes = wishes


def slice_cuts(length: int, size: int) -> list[int]:
    """Where the flat vectors are cut into one slice a rank: at multiples of BLOCK, so that a block has one owner."""
    blocks = -(-length // BLOCK)
    return [min(length, rank * blocks // size * BLOCK) for rank in range(size + 1)]


class _Ranks:
    """What both forms share: who has which nodes, and the small agreement of each step."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        if comm.size > shards:
            raise UsageError(
                f"{comm.size} ranks, but a minibatch has only {shards} shards: start at most {shards} ranks, "
                f"or set shards = {comm.size} or more under [training]"
            )
        self._comm = comm
        by_rank = nodes_of_ranks(comm.size, shards)
        self.nodes = by_rank[comm.rank]
        self._counts = [len(nodes) for nodes in by_rank]
        self._plan = summation_plan([node for nodes in by_rank for node in nodes], (0, shards))
        self._scratch = np.empty((plan_depth(self._plan), tree.BLOCK), dtype)
        self._tail_scratch = np.empty(self._scratch.shape, np.float64)
        self.partials = np.zeros((len(self.nodes), length), dtype)

    def _agree(self, tails: Array, blocks: Array, counts: list[int], wish: int) -> Agreement:
        """One allgather of equal, padded messages: [wish, tails of each node, block sums]."""
        width = tails.shape[1]
        start = 1 + max(self._counts) * width
        mine = np.zeros(start + max(counts), np.float64)
        mine[0] = wish
        mine[1 : 1 + tails.size] = tails.ravel()
        mine[start : start + len(blocks)] = blocks
        everyones = np.empty((self._comm.size, len(mine)), np.float64)
        self._comm.allgather(mine, everyones)
        parts = np.concatenate(
            [
                row[1 : 1 + count * width].reshape(count, width)
                for row, count in zip(everyones, self._counts, strict=True)
            ]
        )
        totals = np.empty(width, np.float64)
        tree.tree_sum(totals, parts, self._plan, self._tail_scratch)
        all_blocks = np.concatenate([row[start : start + n] for row, n in zip(everyones, counts, strict=True)])
        wishes = int(np.bitwise_or.reduce(everyones[:, 0].astype(np.int64)))
        return Agreement(totals, all_blocks, wishes)


class Ordered(_Ranks):
    """Reduce-scatter in the tree's order, update of the owned slice, allgather: the same bits on any number."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        super().__init__(comm, length, shards, dtype)
        self._cuts = slice_cuts(length, comm.size)
        self.owned = slice(self._cuts[comm.rank], self._cuts[comm.rank + 1])
        own = self.owned.stop - self.owned.start
        self._received = np.empty((sum(self._counts), own), dtype)
        self._gradient = np.empty(own, dtype)
        self._blocks = [-(-(b - a) // BLOCK) for a, b in pairwise(self._cuts)]

    def reduce(self) -> Array:
        if len(self._plan) == 1:  # one rank holds the whole tree's sum
            whole: Array = self.partials[0]
            return whole
        self._comm.scatter_slices(self.partials, self._received, self._counts, self._cuts)
        tree.tree_sum(self._gradient, self._received, self._plan, self._scratch)
        return self._gradient

    def agree(self, tails: Array, blocks: Array, wish: int) -> Agreement:
        return self._agree(tails, blocks, self._blocks, wish)

    def share(self, params: Array) -> None:
        self._comm.allgather_slices(params, self._cuts)


class Allreduce(_Ranks):
    """A plain MPI_Allreduce and the whole update on every rank."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        super().__init__(comm, length, shards, dtype)
        self.owned = slice(0, length)

    def reduce(self) -> Array:
        gradient: Array = self.partials[0]
        for part in self.partials[1:]:
            gradient += part
        self._comm.allreduce(gradient)
        return gradient

    def agree(self, tails: Array, blocks: Array, wish: int) -> Agreement:
        agreement = self._agree(tails, blocks[:0], [0] * self._comm.size, wish)
        return Agreement(agreement.totals, blocks, agreement.wishes)

    def share(self, params: Array) -> None:
        pass


def make_exchange(form: str, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> Exchange:
    """The exchange that training.exchange names: "ordered" or "allreduce"."""
    if form == "ordered":
        return Ordered(comm, length, shards, dtype)
    return Allreduce(comm, length, shards, dtype)
