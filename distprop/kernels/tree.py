"""Sums over the binary tree of a minibatch's shards, in the one order that the number of ranks can't change.

Shapes: N rows, C columns; K parts of length L. The tree over n shards splits at the largest power of two below n, so it
is built like a binary counter: after shard s, merge once for each zero that s + 1 ends in; at the end, from the right.
"""

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.views import piece

BLOCK = 512  # columns that tree_sum takes at a time, so that its stack stays in the fastest cache


@inlined
def _add(left, right):
    for i in range(left.size):
        left[i] += right[i]


@inlined
def _copy(target, source):
    """Instead of target[:] = source, whose error message would be compiled too, for two seconds."""
    for i in range(target.size):
        target[i] = source[i]


@kernel
def column_sums(out, values, bounds, scratch):
    """out (C,) = tree over shards of the column sums of values (N, C), each shard's rows in turn, starting from zero.

    bounds (shards + 1,) int64: shard i has the rows bounds[i] to bounds[i + 1]. scratch (levels, C) is overwritten and
    needs as many levels as the number of shards has binary digits.
    """
    depth = 0
    for shard in range(bounds.size - 1):
        top = scratch[depth]
        top[:] = 0
        for row in range(bounds[shard], bounds[shard + 1]):
            _add(top, values[row])
        depth += 1
        done = shard + 1
        while done % 2 == 0:
            depth -= 1
            _add(scratch[depth - 1], scratch[depth])
            done //= 2
    while depth > 1:
        depth -= 1
        _add(scratch[depth - 1], scratch[depth])
    _copy(out, scratch[0])


@kernel
def tree_sum(out, parts, plan, scratch):
    """out (L,) = the parts (K, L) combined as the plan says: the partial gradients of all ranks' nodes, for example.

    plan is an int32 postfix list: k >= 0 pushes part k, -1 replaces the two topmost entries by left + right.
    Rows of parts are contiguous but may lie apart. scratch (levels, BLOCK) needs as many levels as the stack gets deep.
    """
    for start in range(0, out.size, BLOCK):
        size = min(BLOCK, out.size - start)
        depth = 0
        for step in range(plan.size):
            if plan[step] >= 0:
                _copy(piece(scratch, depth, 0, size), piece(parts, plan[step], start, size))
                depth += 1
            else:
                depth -= 1
                _add(piece(scratch, depth - 1, 0, size), piece(scratch, depth, 0, size))
        _copy(out[start : start + size], piece(scratch, 0, 0, size))
