"""Sums over the binary tree of a minibatch's shards, in the one order that the number of ranks can't change.

Shapes: N rows, C columns; K parts of length L. The tree over n shards splits at the largest power of two below n, so it
is built like a binary counter: after shard s, merge once for each zero that s + 1 ends in; at the end, from the right.
"""

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.views import piece, span

BLOCK = 512  # columns that tree_sum takes at a time, so that its stack stays in the fastest cache


@inlined
def _add(left, right):
    for i in range(left.size):
        left[i] += right[i]


@inlined
def _sum(out, left, right):
    for i in range(out.size):
        out[i] = left[i] + right[i]


@inlined
def _copy(target, source):
    """Instead of target[:] = source, whose error message would be compiled too, for two seconds."""
    for i in range(target.size):
        target[i] = source[i]


@inlined
def _entry(out, scratch, depth, start, size):
    """Where an entry of the stack is."""
    return span(out, start, size) if depth == 0 else piece(scratch, depth, 0, size)


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
    out is the stack's lowest entry. A part is copied only where it has to wait: two parts in a row that are added at
    once, or a part that is added to what is there already, are read where they lie.
    """
    block = BLOCK if plan.size > 3 else max(out.size, 1)  # a sum of two needs no stack
    for start in range(0, out.size, block):
        size = min(block, out.size - start)
        depth, step = 0, 0
        while step < plan.size:
            part = plan[step]
            if part < 0:
                depth, step = depth - 1, step + 1
                _add(_entry(out, scratch, depth - 1, start, size), _entry(out, scratch, depth, start, size))
            elif step + 1 < plan.size and plan[step + 1] < 0:
                _add(_entry(out, scratch, depth - 1, start, size), piece(parts, part, start, size))
                step += 2
            elif step + 2 < plan.size and plan[step + 2] < 0:
                left, right = piece(parts, part, start, size), piece(parts, plan[step + 1], start, size)
                _sum(_entry(out, scratch, depth, start, size), left, right)
                depth, step = depth + 1, step + 3
            else:
                _copy(_entry(out, scratch, depth, start, size), piece(parts, part, start, size))
                depth, step = depth + 1, step + 1
