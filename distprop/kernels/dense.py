"""Fully connected layer: y = x w + b.    Shapes: N rows, I inputs, O outputs; x (N, I), w (I, O), b (O,), y, d (N, O).

Each element is one chain of fused multiply-adds in ascending order, started from the bias or zero; the gradients of the
parameters are sums of such chains, one a shard, over the tree of the shards.
"""

import numpy as np
import numpy.typing as npt

from distprop.kernels.jit import kernel, pasted
from distprop.kernels.matmul import (
    MAX_ROWS,
    MAX_VECTORS,
    TREE_ROWS,
    TREE_VECTORS,
    VECTOR_BYTES,
    product_tile,
    transpose_tile,
    tree_tile,
)

TILE_BYTES = MAX_VECTORS * VECTOR_BYTES  # of a row of the largest tile
TREE_TILE_BYTES = TREE_VECTORS * VECTOR_BYTES
TREE_TILES = 8  # tiles side by side before the next rows
BLOCK_ROWS = 8 * MAX_ROWS  # whole tiles and whole vectors


def scratch_elements(inputs: int, outputs: int, shards: int, dtype: npt.DTypeLike) -> int:
    """Elements of scratch that the kernels of an (inputs, outputs) layer need for nodes of at most `shards` shards."""
    columns = TILE_BYTES // np.dtype(dtype).itemsize
    stack = TREE_ROWS * max((shards - 1) // 2, 0).bit_length()
    return columns * (2 + max(outputs + BLOCK_ROWS, stack))


@pasted
def _zeros_first(scratch):
    """A row of zeros for tiles to start from, at the start of a cache line, and the scratch behind it."""
    columns = TILE_BYTES // scratch.itemsize
    skipped = (-scratch.ctypes.data % VECTOR_BYTES) // scratch.itemsize
    zeros = scratch[skipped : skipped + columns]
    zeros[:] = 0
    return zeros, scratch[skipped + columns :]


@pasted
def _panel(c, at_c, ldc, start, at_start, a, at_a, b, at_b, ldb, rows, depth, width):
    """c (rows, width) = a (rows, depth) b (depth, width) + start (width,), each flat from an offset; a has no gaps."""
    for i in range(0, rows, MAX_ROWS):
        product_tile(
            min(MAX_ROWS, rows - i), c, at_c + i * ldc, ldc, start, at_start, 0,
            a, at_a + i * depth, depth, 1, b, at_b, ldb, depth, width,
        )  # fmt: skip


@pasted
def _product(y, x, w, start, start_step):
    """y = x w + start; start_step says whether start has a value for each column (1) or is a block of zeros (0)."""
    (rows, inputs), outputs = x.shape, w.shape[1]
    y, x, w = y.reshape(y.size), x.reshape(x.size), w.reshape(w.size)
    columns = TILE_BYTES // y.itemsize
    for j in range(0, outputs, columns):
        width = min(columns, outputs - j)
        _panel(y, j, outputs, start, j * start_step, x, 0, w, j, outputs, rows, inputs, width)


@kernel
def dense_forward(y, x, w, b, scratch):
    """y (N, O) = x (N, I) w (I, O) + b (O,)."""
    _product(y, x, w, b, 1)


@kernel
def dense_forward_without_bias(y, x, w, scratch):
    """y (N, O) = x (N, I) w (I, O)."""
    zeros, _ = _zeros_first(scratch)
    _product(y, x, w, zeros, 0)


@pasted
def _tree_product(dw, x, x_row, x_k, d, bounds, stack, inputs, outputs):
    """dw (I, O) = tree over shards of x^T d, all flat; x for input i and row k lies at i x_row + k x_k."""
    columns = TREE_TILE_BYTES // dw.itemsize
    for first in range(0, outputs, TREE_TILES * columns):  # so much of d stays in the second cache
        end = min(first + TREE_TILES * columns, outputs)
        for i in range(0, inputs, TREE_ROWS):
            for j in range(first, end, columns):
                tree_tile(
                    min(TREE_ROWS, inputs - i), dw, i * outputs + j, outputs, x, i * x_row, x_row, x_k,
                    d, j, outputs, bounds, 0, bounds.size - 1, stack, 0, min(columns, end - j),
                )  # fmt: skip


@kernel
def dense_backward_weights(dw, x, d, bounds, scratch):
    """dw (I, O) = tree over shards of x^T d.

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d, perhaps
    none; at least one shard.
    """
    flat_d = d.reshape(d.size)
    _, stack = _zeros_first(scratch)
    _tree_product(
        dw.reshape(dw.size), x.reshape(x.size), 1, x.shape[1], flat_d, bounds, stack, dw.shape[0], dw.shape[1]
    )


@kernel
def dense_backward_params(dw, db, x, d, bounds, scratch):
    """dw (I, O) = tree over shards of x^T d; db (O,) = tree over shards of the sums of their rows of d.

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d, perhaps
    none; at least one shard.
    """
    flat_d = d.reshape(d.size)
    ones, stack = _zeros_first(scratch)
    _tree_product(
        dw.reshape(dw.size), x.reshape(x.size), 1, x.shape[1], flat_d, bounds, stack, dw.shape[0], dw.shape[1]
    )
    ones[0] = 1  # the sum of d's rows is the product with a matrix of ones: one times d is exact
    _tree_product(db, ones, 0, 0, flat_d, bounds, stack, 1, db.size)


@pasted
def _transpose(target, at_target, ldt, source, at_source, lds, rows, columns):
    """target[j, i] = source[i, j] for i < rows and j < columns."""
    lanes = VECTOR_BYTES // target.itemsize
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            transpose_tile(
                target, at_target + j * ldt + i, ldt, source, at_source + i * lds + j, lds,
                min(lanes, rows - i), min(lanes, columns - j),
            )  # fmt: skip


@pasted
def _input_by_transposed_weights(dx, d, w, zeros, panel, rows, inputs, outputs):
    """dx = d w^T for many rows: w is transposed, in panels of as many inputs as a tile has columns."""
    columns = zeros.size
    for j in range(0, inputs, columns):
        width = min(columns, inputs - j)
        _transpose(panel, 0, columns, w, j * outputs, outputs, width, outputs)
        _panel(dx, j, inputs, zeros, 0, d, 0, panel, 0, columns, rows, outputs, width)


@pasted
def _input_by_transposed_samples(dx, d, w, zeros, scratch, rows, inputs, outputs):
    """dx^T = w d^T for few rows: d and the result are transposed, not the larger w; lanes are samples. Same bits."""
    columns = zeros.size
    block, panel = scratch[: BLOCK_ROWS * columns], scratch[BLOCK_ROWS * columns :]
    for n in range(0, rows, columns):
        width = min(columns, rows - n)
        _transpose(panel, 0, columns, d, n * outputs, outputs, width, outputs)
        for i in range(0, inputs, BLOCK_ROWS):
            height = min(BLOCK_ROWS, inputs - i)
            _panel(block, 0, columns, zeros, 0, w, i * outputs, panel, 0, columns, height, outputs, width)
            _transpose(dx, n * inputs + i, inputs, block, 0, columns, height, width)


@kernel
def dense_backward_input(dx, d, w, scratch):
    """dx (N, I) = d (N, O) w^T (O, I)."""
    (rows, outputs), inputs = d.shape, w.shape[0]
    flat_dx, flat_d, flat_w = dx.reshape(dx.size), d.reshape(d.size), w.reshape(w.size)
    zeros, rest = _zeros_first(scratch)
    if rows * (inputs + outputs) < w.size:
        _input_by_transposed_samples(flat_dx, flat_d, flat_w, zeros, rest, rows, inputs, outputs)
    else:
        _input_by_transposed_weights(flat_dx, flat_d, flat_w, zeros, rest, rows, inputs, outputs)
