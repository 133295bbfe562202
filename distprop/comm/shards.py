"""Who computes which shard of a minibatch, and the one tree in which the shards' gradients are summed.

The tree over shards [first, last) is the left-complete one: it splits at the largest power of two below its length.
It depends on the number of shards alone, so it gives the same bits on any number of ranks.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Node: TypeAlias = tuple[int, int]  # shards [first, last) of a subtree

MERGE = -1  # in a plan: replace the two topmost sums by left + right


def shard_bounds(samples: int, shards: int) -> npt.NDArray[np.int64]:
    """Row offsets (shards + 1,) of a minibatch's shards: shard s holds rows [s * samples // shards, (s+1) * ...)."""
    return np.array([shard * samples // shards for shard in range(shards + 1)], dtype=np.int64)


def owned_shards(rank: int, size: int, shards: int) -> Node:
    """The contiguous run of shards that a rank computes."""
    return rank * shards // size, (rank + 1) * shards // size


def run_of(ranks: range, size: int, shards: int) -> Node:
    """The contiguous run of shards that these ranks compute together."""
    return owned_shards(ranks[0], size, shards)[0], owned_shards(ranks[-1], size, shards)[1]


def split(node: Node) -> tuple[Node, Node]:
    """The two subtrees of a node with more than one shard."""
    first, last = node
    middle = first + (1 << ((last - first - 1).bit_length() - 1))
    return (first, middle), (middle, last)


def canonical_nodes(run: Node, node: Node) -> tuple[Node, ...]:
    """The fewest subtrees of `node` that together are the run of shards: a rank makes one partial gradient for each."""
    if run[0] <= node[0] and node[1] <= run[1]:
        return (node,)
    if node[1] <= run[0] or run[1] <= node[0]:
        return ()
    left, right = split(node)
    return canonical_nodes(run, left) + canonical_nodes(run, right)


def passes_of(run: Node, passes: int) -> tuple[Node, ...]:
    """A rank's run of shards cut into at most `passes` runs, which it computes one after the other."""
    length = run[1] - run[0]
    count = min(passes, length)
    return tuple((run[0] + i * length // count, run[0] + (i + 1) * length // count) for i in range(count))


def nodes_of_ranks(size: int, shards: int, passes: int = 1) -> tuple[tuple[Node, ...], ...]:
    """The canonical nodes of every rank, pass by pass."""
    runs = [passes_of(owned_shards(rank, size, shards), passes) for rank in range(size)]
    return tuple(tuple(node for run in of_rank for node in canonical_nodes(run, (0, shards))) for of_rank in runs)


def summation_plan(nodes: Sequence[Node], root: Node) -> npt.NDArray[np.int32]:
    """The tree's sum over its canonical nodes as a postfix list: k >= 0 pushes part k, MERGE adds the two topmost."""
    position = {node: index for index, node in enumerate(nodes)}

    def postfix(node: Node) -> list[int]:
        if node in position:
            return [position[node]]
        left, right = split(node)
        return [*postfix(left), *postfix(right), MERGE]

    return np.array(postfix(root), dtype=np.int32)


def plan_depth(plan: npt.NDArray[np.int32]) -> int:
    """How many sums wait at once while a plan is carried out."""
    waiting = np.cumsum(np.where(plan == MERGE, -1, 1))
    return int(waiting.max())
