"""Fully connected layer: y = x w + b.    Shapes: N rows, I inputs, O outputs; x (N, I), w (I, O), b (O,), y and d (N, O).

Each element is one chain of fused multiply-adds in ascending order, started from the bias or zero; the gradients of the
parameters are sums of such chains, one a shard, over the tree of the shards.
"""

import numpy as np
import numpy.typing as npt

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.matmul import MAX_ROWS, MAX_VECTORS, VECTOR_BYTES, product_tile, tree_tile

TILE_BYTES = MAX_VECTORS * VECTOR_BYTES  # of a row of the largest tile


def scratch_elements(inputs: int, outputs: int, shards: int, dtype: npt.DTypeLike) -> int:
    """Elements of scratch that the kernels of an (inputs, outputs) layer need for nodes of at most `shards` shards."""
    columns = TILE_BYTES // np.dtype(dtype).itemsize
    stack = MAX_ROWS * max(shards - 1, 0).bit_length()
    return columns * (1 + max(outputs, stack))


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
    zeros = scratch[: TILE_BYTES // y.itemsize]
    zeros[:] = 0
    _product(y, x, w, zeros, 0)


@inlined
def _tree_product(dw, x, x_row, x_k, d, bounds, stack):
    """dw (I, O) = tree over shards of x^T d; x[i, k] lies at i * x_row + k * x_k."""
    inputs, outputs = dw.shape
    columns = TILE_BYTES // dw.itemsize
    for j in range(0, outputs, columns):
        width = min(columns, outputs - j)
        for i in range(0, inputs, MAX_ROWS):
            height = min(MAX_ROWS, inputs - i)
            tree_tile(
                height, dw, i * outputs + j, outputs, x, i * x_row, x_row, x_k,
                d, j, outputs, bounds, 0, bounds.size - 1, stack, 0, width,
            )  # fmt: skip


@kernel
def dense_backward_weights(dw, x, d, bounds, scratch):
    """dw (I, O) = tree over shards of x^T d.

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d; at least one shard; it
    may be empty.
    """
    _tree_product(dw, x, 1, x.shape[1], d, bounds, scratch)


@kernel
def dense_backward_params(dw, db, x, d, bounds, scratch):
    """dw (I, O) = tree over shards of x^T d; db (O,) = tree over shards of the sums of their rows of d.

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d; at least one shard; it
    may be empty.
    """
    _tree_product(dw, x, 1, x.shape[1], d, bounds, scratch)
    columns = TILE_BYTES // dw.itemsize
    ones, stack = scratch[:columns], scratch[columns:]
    ones[0] = 1  # the sum of d's rows is the product with a matrix of ones: one times d is exact
    _tree_product(db.reshape(1, db.size), ones, 0, 0, d, bounds, stack)


@inlined
def _pack_transposed(panel, w, i, width):
    """panel[k, j] = w[i + j, k] for j < width; rows of the panel are as long as a tile."""
    columns = TILE_BYTES // w.itemsize
    for k in range(w.shape[1]):
        for j in range(width):
            panel[k * columns + j] = w[i + j, k]


@kernel
def dense_backward_input(dx, d, w, scratch):
    """dx (N, I) = d (N, O) w^T (O, I)."""
    (rows, outputs), inputs = d.shape, w.shape[0]
    columns = TILE_BYTES // dx.itemsize
    zeros, panel = scratch[:columns], scratch[columns:]
    zeros[:] = 0
    for j in range(0, inputs, columns):
        width = min(columns, inputs - j)
        _pack_transposed(panel, w, j, width)
        for i in range(0, rows, MAX_ROWS):
            height = min(MAX_ROWS, rows - i)
            product_tile(
                height, dx, i * inputs + j, inputs, zeros, 0, 0,
                d, i * outputs, outputs, 1, panel, 0, columns, outputs, width,
            )  # fmt: skip
