"""How the flat vectors are cut: into buckets that are exchanged one by one, and these into a slice for each rank."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from distprop.comm.communicator import Array, Communicator
from distprop.comm.routes import ranges_of
from distprop.comm.shards import Node, nodes_of_ranks, plan_depth, summation_plan
from distprop.comm.volumes import Volume
from distprop.errors import UsageError
from distprop.kernels import memory, tree
from distprop.kernels.norms import BLOCK
from distprop.kernels.tape import Call

TAIL = 2  # sums that travel with the gradient: loss, and the weight of what was classified right
WORDS = 16  # integers that each rank tells all others in a step: two cache lines
BUCKET_BYTES = 1 << 18  # at least, of a bucket: large enough that its bytes take longer than its messages
MOST_BLOCKS = 4  # of a layer


def check_ranks(size: int, shards: int) -> None:
    """UsageError if there are more ranks than shards."""
    if size > shards:
        raise UsageError(
            f"{size} ranks, but a minibatch has only {shards} shards: start at most {shards} ranks, "
            f"or set shards = {size} or more under [training]"
        )


def cut_into_buckets(length: int, itemsize: int, layers: Sequence[int] = ()) -> tuple[slice, ...]:
    """The buckets of a flat vector, the output layer's first, as the backward pass completes them.

    They are cut where layers or blocks of them begin, at the next multiple of BLOCK. layers: these offsets.
    """
    buckets, stop = [], length
    for layer in sorted(layers, reverse=True):
        start = -(-layer // BLOCK) * BLOCK
        if start > 0 and (stop - start) * itemsize >= BUCKET_BYTES:
            buckets.append(slice(start, stop))
            stop = start
    return (*buckets, slice(0, stop))


def cut_rows(shape: tuple[int, ...], itemsize: int) -> list[int]:
    """Where a weight (I, O) is cut into blocks of rows that are exchanged one by one, from 0 to I.

    While one travels, the next one's gradient is computed, or its part of the next forward pass.
    """
    blocks = max(1, min(MOST_BLOCKS, math.prod(shape) * itemsize // (2 * BUCKET_BYTES), shape[0]))
    return [block * shape[0] // blocks for block in range(blocks + 1)]


def cut_into_slices(bucket: slice, size: int) -> list[int]:
    """Where a bucket is cut into one slice a rank: at multiples of BLOCK, so that a block has one owner."""
    blocks = -(-(bucket.stop - bucket.start) // BLOCK)
    return [min(bucket.stop, bucket.start + rank * blocks // size * BLOCK) for rank in range(size + 1)]


def blocks_of(part: slice) -> slice:
    """The blocks of a part of the flat vectors that starts at a block."""
    return slice(part.start // BLOCK, -(-part.stop // BLOCK))


def rows_of(by_group: Sequence[Sequence[Node]]) -> list[slice]:
    """Where the nodes of each group of ranks are among those of all, in the groups' order."""
    ends = np.cumsum([0, *map(len, by_group)]).tolist()
    return [slice(first, last) for first, last in pairwise(ends)]


class Sliced:
    """What the ordered forms share: each rank owns a slice of every bucket."""

    parts: tuple[Array, ...]
    blocks: tuple[Array, ...]
    is_shared_out = False
    zeros: Callable[..., Array] = staticmethod(memory.zeros)

    def __init__(self, comm: Communicator, buckets: Sequence[slice], shards: int, passes: int) -> None:
        check_ranks(comm.size, shards)
        self._comm, self._buckets, self._root = comm, tuple(buckets), (0, shards)
        self._by_rank = nodes_of_ranks(comm.size, shards, passes)
        self._rows, self._all_nodes = rows_of(self._by_rank), [node for nodes in self._by_rank for node in nodes]
        self.nodes = self._by_rank[comm.rank]
        self._cuts = [cut_into_slices(bucket, comm.size) for bucket in buckets]
        self.owned = tuple(self._slice(bucket, comm.rank) for bucket in range(len(buckets)))
        self.totals = np.zeros(TAIL)
        self.all_words = np.zeros((comm.size, WORDS), np.int64)
        self.copies = tuple(ranges_of(comm.machines))
        self._plans: dict[Any, tuple[Array, Array]] = {}

    @property
    def _copy(self) -> range:
        """The ranks that have this rank's copy of the parameters in common."""
        return next(copy for copy in self.copies if self._comm.rank in copy)

    @property
    def shares_params(self) -> bool:
        return len(self._copy) > 1

    @property
    def part(self) -> slice:
        """Of this rank's copy of the parameters, what it answers for."""
        copy = self._copy
        cuts, index = cut_into_slices(slice(0, self._length), len(copy)), self._comm.rank - copy.start
        return slice(cuts[index], cuts[index + 1])

    @property
    def volumes(self) -> Sequence[Volume]:
        return ()

    @property
    def _length(self) -> int:
        return int(self._buckets[0].stop)

    def _slice(self, bucket: int, rank: int) -> slice:
        """What a rank owns of a bucket."""
        return slice(*self._cuts[bucket][rank : rank + 2])

    def _tree_sum(self, out: Array, parts: Array, nodes: Sequence[Node], root: Node, text: str) -> Call:
        """out (L,) = the sum for `root` from parts (K, L), which are those of K nodes of the tree, in its order."""
        key = tuple(nodes), root, parts.dtype
        if key not in self._plans:  # calls that have plan and scratch in common may become a loop
            plan = summation_plan(nodes, root)
            self._plans[key] = plan, np.empty((plan_depth(plan), tree.BLOCK), parts.dtype)
        return Call(tree.tree_sum, (out, parts, *self._plans[key]), text, "exchange")

    def _sum_tails(self, tails: Array) -> Call:
        text = "loss, correct = tree_sum(those of the nodes)"
        return self._tree_sum(self.totals, tails, self._all_nodes, self._root, text)

    def gather(self, mine: Array) -> Array:
        """A whole vector (length,) of every rank's slices, `mine`, one behind the other: a collective."""
        vector: Array = np.zeros(self._length, mine.dtype)
        first = 0
        for bucket, cuts, owned in zip(self._buckets, self._cuts, self.owned, strict=True):
            last = first + owned.stop - owned.start
            vector[owned] = mine[first:last]
            self._comm.allgather_slices(vector[bucket], [cut - bucket.start for cut in cuts])
            first = last
        return vector

    def waiting(self) -> None:
        self._comm.check()
