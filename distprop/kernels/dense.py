"""Fully connected layer: y = x w + b.    Shapes: N rows, I inputs, O outputs; x (N, I), w (I, O), b (O,), y, d (N, O).

Each element is one chain of fused multiply-adds in ascending order, started from the bias or zero; the gradients of the
parameters are sums of such chains, one a shard, over the tree of the shards.
"""

import numpy as np
import numpy.typing as npt

from distprop.kernels.jit import inlined, kernel
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


@inlined
def _zeros_first(scratch):
    """A row of zeros for tiles to start from, at the start of a cache line, and the scratch behind it."""
    columns = TILE_BYTES // scratch.itemsize
    skipped = (-scratch.ctypes.data % VECTOR_BYTES) // scratch.itemsize
    zeros = scratch[skipped : skipped + columns]
    zeros[:] = 0
    return zeros, scratch[skipped + columns :]


@inlined
def _product(y, x, w, start, start_step):
    """y = x w + start; start_step says whether start has a value for each column (1) or is a block of zeros (0)."""
    (rows, inputs), outputs = x.shape, w.shape[1]
    columns = TILE_BYTES // y.itemsize
    for j in range(0, outputs, columns):
        width = min(columns, outputs - j)
        for i in range(0, rows, MAX_ROWS):
            height = min(MAX_ROWS, rows - i)
            product_tile(
                height, y, i * outputs + j, outputs, start, j * start_step, 0,
                x, i * inputs, inputs, 1, w, j, outputs, inputs, width,
            )  # fmt: skip


@kernel
def dense_forward(y, x, w, b, scratch):
    """y (N, O) = x (N, I) w (I, O) + b (O,)."""
    _product(y, x, w, b, 1)


@kernel
def dense_forward_without_bias(y, x, w, scratch):
    """y (N, O) = x (N, I) w (I, O)."""
    zeros, _ = _zeros_first(scratch)
    _product(y, x, w, zeros, 0)


@inlined
def _tree_product(dw, x, x_row, x_k, d, bounds, stack):
    """dw (I, O) = tree over shards of x^T d; x[i, k] lies at i * x_row + k * x_k."""
    inputs, outputs = dw.shape
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

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d; at least one shard; it
    may be empty.
    """
    _, stack = _zeros_first(scratch)
    _tree_product(dw, x, 1, x.shape[1], d, bounds, stack)


@kernel
def dense_backward_params(dw, db, x, d, bounds, scratch):
    """dw (I, O) = tree over shards of x^T d; db (O,) = tree over shards of the sums of their rows of d.

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d; at least one shard; it
    may be empty.
    """
    ones, stack = _zeros_first(scratch)
    _tree_product(dw, x, 1, x.shape[1], d, bounds, stack)
    ones[0] = 1  # the sum of d's rows is the product with a matrix of ones: one times d is exact
    _tree_product(db.reshape(1, db.size), ones, 0, 0, d, bounds, stack)


@inlined
def _transpose(target, at_target, ldt, source, at_source, lds, rows, columns):
    """target[j, i] = source[i, j] for i < rows and j < columns."""
    lanes = VECTOR_BYTES // target.itemsize
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            transpose_tile(
                target, at_target + j * ldt + i, ldt, source, at_source + i * lds + j, lds,
                min(lanes, rows - i), min(lanes, columns - j),
            )  # fmt: skip


@inlined
def _input_by_transposed_weights(dx, d, w, zeros, panel):
    """dx = d w^T for many rows: w is transposed, in panels of as many inputs as a tile has columns."""
    (rows, outputs), inputs = d.shape, w.shape[0]
    columns = zeros.size
    for j in range(0, inputs, columns):
        width = min(columns, inputs - j)
        _transpose(panel, 0, columns, w, j * outputs, outputs, width, outputs)
        for i in range(0, rows, MAX_ROWS):
            product_tile(
                min(MAX_ROWS, rows - i), dx, i * inputs + j, inputs, zeros, 0, 0,
                d, i * outputs, outputs, 1, panel, 0, columns, outputs, width,
            )  # fmt: skip


@inlined
def _input_by_transposed_samples(dx, d, w, zeros, scratch):
    """dx^T = w d^T for few rows: d and the result are transposed, not the larger w; lanes are samples. Same bits."""
    (rows, outputs), inputs = d.shape, w.shape[0]
    columns = zeros.size
    block, panel = scratch[: BLOCK_ROWS * columns], scratch[BLOCK_ROWS * columns :]
    for n in range(0, rows, columns):
        width = min(columns, rows - n)
        _transpose(panel, 0, columns, d, n * outputs, outputs, width, outputs)
        for first in range(0, inputs, BLOCK_ROWS):
            height = min(BLOCK_ROWS, inputs - first)
            for i in range(0, height, MAX_ROWS):
                product_tile(
                    min(MAX_ROWS, height - i), block, i * columns, columns, zeros, 0, 0,
                    w, (first + i) * outputs, outputs, 1, panel, 0, columns, outputs, width,
                )  # fmt: skip
            _transpose(dx, n * inputs + first, inputs, block, 0, columns, height, width)


@kernel
def dense_backward_input(dx, d, w, scratch):
    """dx (N, I) = d (N, O) w^T (O, I)."""
    zeros, rest = _zeros_first(scratch)
    if dx.size + d.size < w.size:
        _input_by_transposed_samples(dx, d, w, zeros, rest)
    else:
        _input_by_transposed_weights(dx, d, w, zeros, rest)
