"""From every rank's partial gradients to the same updated parameters on every rank.

Mathematically an allreduce of the gradients, then the same update everywhere. Physically (form "ordered"): each rank
owns a slice of the flat vectors, sums that slice over all partial gradients in the order of the tree over shards
(reduce-scatter), updates it, and hands it to all others (allgather). On one machine the vectors lie in shared memory:
the first is a sum over memory that others have written, the last nothing but waiting (`Shared`). Between machines
slices travel as messages (`Messages`). `Allreduce` is the textbook form, whose bits depend on the number of ranks and
on the MPI library; it stays as the yardstick.
"""

from dataclasses import dataclass, replace
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
    params (length,): the parameters, which all ranks see alike after `share`.
    partials (len(nodes), length): where the backward pass writes the partial gradients.
    owned: the slice of the flat vectors that this rank updates.
    """

    nodes: tuple[Node, ...]
    params: Array
    partials: Array
    owned: slice

    def reduce(self) -> Array:
        """The owned slice of the minibatch's gradient."""

    def agree(self, tails: Array, blocks: Array, wish: int) -> "Agreement":
        """What every rank must know alike before the update: tails (len(nodes), T) summed over all shards in the tree's
        order, the owned slices' block sums beside each other, and all ranks' wishes (bits).
        """

    def share(self) -> None:
        """Make every rank's owned slice of the parameters known to all."""

    def gather(self, mine: Array) -> Array:
        """A whole vector (length,) of every rank's slice `mine`, as of the optimizer's state."""


@dataclass(frozen=True)
class Agreement:
    """What all ranks know alike after a step's exchange."""

    totals: npt.NDArray[np.float64]
    blocks: npt.NDArray[np.float64]
    wishes: int


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

    def sum(self, out: Array, parts: Array) -> None:
        """out (L,) = the parts (sum(counts), L) of all ranks, in the tree's order."""
        tree.tree_sum(out, parts, self._plan, self._scratch)

    def sum_tails(self, parts: Array) -> npt.NDArray[np.float64]:
        totals = np.empty(parts.shape[1], np.float64)
        tree.tree_sum(totals, parts, self._plan, self._tail_scratch)
        return totals


class _Agreeing:
    """The small message of each step: [wish, tails of each node, block sums], padded to one length for all ranks."""

    def __init__(self, comm: Communicator, nodes: _Tree, blocks: list[int]) -> None:
        self._comm, self._tree, self._blocks = comm, nodes, blocks

    def agree(self, tails: Array, blocks: Array, wish: int) -> Agreement:
        counts, width = self._tree.counts, tails.shape[1]
        start = 1 + max(counts) * width
        mine = np.zeros(start + max(self._blocks), np.float64)
        mine[0] = wish
        mine[1 : 1 + tails.size] = tails.ravel()
        mine[start : start + len(blocks)] = blocks
        everyones = np.empty((self._comm.size, len(mine)), np.float64)
        self._comm.allgather(mine, everyones)
        rows = [row[1 : 1 + count * width].reshape(count, width) for row, count in zip(everyones, counts, strict=True)]
        sums = [row[start : start + count] for row, count in zip(everyones, self._blocks, strict=True)]
        wishes = int(np.bitwise_or.reduce(everyones[:, 0].astype(np.int64)))
        return Agreement(self._tree.sum_tails(np.concatenate(rows)), np.concatenate(sums), wishes)


class _Sliced:
    """What both ordered forms share: each rank owns a slice of the flat vectors."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        self._comm, self._length = comm, length
        self._tree = _Tree(comm, shards, dtype)
        self.nodes = self._tree.nodes
        self._cuts = slice_cuts(length, comm.size)
        self.owned = slice(self._cuts[comm.rank], self._cuts[comm.rank + 1])
        self._gradient: Array = np.empty(self.owned.stop - self.owned.start, dtype)
        self._agreeing = _Agreeing(comm, self._tree, [-(-(b - a) // BLOCK) for a, b in pairwise(self._cuts)])

    def agree(self, tails: Array, blocks: Array, wish: int) -> Agreement:
        return self._agreeing.agree(tails, blocks, wish)

    def gather(self, mine: Array) -> Array:
        vector: Array = np.zeros(self._length, mine.dtype)
        vector[self.owned] = mine
        self._comm.allgather_slices(vector, self._cuts)
        return vector


class Shared(_Sliced):
    """All ranks on one machine: one copy of the parameters, and partial gradients are read where they lie."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        super().__init__(comm, length, shards, dtype)
        self.params = comm.shared_zeros((length,), dtype)
        self._parts = comm.shared_zeros((sum(self._tree.counts), length), dtype)
        self.partials = self._parts[self._tree.rows]

    def reduce(self) -> Array:
        self._comm.barrier()  # all partial gradients are there
        if len(self._parts) == 1:  # one rank holds the whole tree's sum
            whole: Array = self._parts[0]
            return whole
        self._tree.sum(self._gradient, self._parts[:, self.owned])
        return self._gradient

    def share(self) -> None:
        self._comm.barrier()


class Messages(_Sliced):
    """Ranks on several machines: reduce-scatter and allgather by messages."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        super().__init__(comm, length, shards, dtype)
        self.params = np.zeros(length, dtype)
        self.partials = np.zeros((len(self.nodes), length), dtype)
        self._received: Array = np.empty((sum(self._tree.counts), len(self._gradient)), dtype)

    def reduce(self) -> Array:
        self._comm.scatter_slices(self.partials, self._received, self._tree.counts, self._cuts)
        self._tree.sum(self._gradient, self._received)
        return self._gradient

    def share(self) -> None:
        self._comm.allgather_slices(self.params, self._cuts)


class Allreduce:
    """A plain MPI_Allreduce and the whole update on every rank."""

    def __init__(self, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> None:
        self._comm = comm
        self._tree = _Tree(comm, shards, dtype)
        self._agreeing = _Agreeing(comm, self._tree, [0] * comm.size)
        self.nodes, self.owned = self._tree.nodes, slice(0, length)
        self.params = np.zeros(length, dtype)
        self.partials = np.zeros((len(self.nodes), length), dtype)

    def reduce(self) -> Array:
        gradient: Array = self.partials[0]
        for part in self.partials[1:]:
            gradient += part
        self._comm.allreduce(gradient)
        return gradient

    def agree(self, tails: Array, blocks: Array, wish: int) -> Agreement:
        return replace(self._agreeing.agree(tails, blocks[:0], wish), blocks=blocks)

    def share(self) -> None:
        pass

    def gather(self, mine: Array) -> Array:
        return mine


def make_exchange(form: str, comm: Communicator, length: int, shards: int, dtype: npt.DTypeLike) -> Exchange:
    """The exchange that training.exchange names: "ordered" or "allreduce"."""
    if form == "allreduce":
        return Allreduce(comm, length, shards, dtype)
    return (Shared if comm.shares_memory else Messages)(comm, length, shards, dtype)
