"""Fully connected layer: y = f(x w + b).    Shapes: N rows, I inputs, O outputs; x (N, I), w (I, O), y and d (N, O).

Each element is one chain of fused multiply-adds in ascending order, started from the bias or zero; the gradients of the
parameters are sums of such chains, one a shard, over the tree of the shards.
f is one of FUSED, given by its code; it is applied to a tile's sums before they are stored.
"""

import numpy as np
import numpy.typing as npt

from distprop.kernels.activations import LEAKY_SLOPE
from distprop.kernels.jit import kernel, pasted
from distprop.kernels.matmul import (
    IDENTITY,
    LEAKY_RELU,
    LEAKY_RELU_SLOPE,
    LEVELS_IN_MEMORY,
    LOW_ROWS,
    MASKED_ROWS,
    MAX_ROWS,
    MAX_VECTORS,
    NARROW_BYTES,
    NARROW_ROWS,
    RELU,
    RELU_SLOPE,
    THIN_ROWS,
    THIN_VECTORS,
    TREE_ROWS,
    product_panel,
    product_tile,
    tree_panel,
    tree_tile,
)
from distprop.kernels.vectors import VECTOR_BYTES, panel_copier, strip_transposer, transpose
from distprop.kernels.views import flat

copy_panels, copy_tree_panels = panel_copier(), panel_copier(TREE_ROWS)
transpose_strip = strip_transposer(THIN_ROWS)

FUSED = {"identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU}

TILE_BYTES = MAX_VECTORS * VECTOR_BYTES  # of a row of the largest tile
BLOCK_ROWS = 48  # whole tiles and whole vectors
STRIP_BYTES = 8 * VECTOR_BYTES  # of a row of x, copied at a time
BLOCK_BYTES = 1 << 20  # of d, a usual second cache
THIN_BYTES = 3 * VECTOR_BYTES // 4  # of a row of d: with longer rows not many lanes are wasted
# Copying a matrix to where a tile finds its part without gaps pays when each of its elements is used so often.
WORTH_COPYING = 64
FIRST_CACHE_BYTES = 1 << 15  # what lies in a usual first cache is used where it is
COPY_BYTES = 1 << 18  # of w, copied at a time: parts of its rows that are longer come sooner from memory
NARROW_TILES = MAX_VECTORS == 1  # whose panels have more gaps than numbers, so that caches and page tables run out
# For few rows, w isn't copied but taken in blocks that the caches keep while all rows and columns go through them; but
# not a large w with long rows, whose blocks would lie on too many pages.
BLOCK_DEPTH = 128  # rows of w
WORTH_BLOCKS = 1 << 19  # bytes of w
WIDE_BYTES = 1 << 15  # of y
WORTH_FETCHING = 1 << 17  # bytes of w: less stays in a second cache from step to step, unless other ranks update it


def scratch_elements(rows: int, inputs: int, outputs: int, shards: int, dtype: npt.DTypeLike) -> int:
    """Elements of scratch that the kernels of an (inputs, outputs) layer need for so many rows, in nodes of at most
    `shards` shards."""
    size = np.dtype(dtype).itemsize
    lanes, columns = VECTOR_BYTES // size, TILE_BYTES // size
    stack = TREE_ROWS * lanes * (LEVELS_IN_MEMORY + shards.bit_length())
    block, strip = min(_block_columns(rows, lanes, size), -(-outputs // lanes) * lanes), STRIP_BYTES // size
    panels = block // lanes * _panel(rows, lanes, lanes) + strip // TREE_ROWS * _panel(rows, TREE_ROWS, lanes)
    return 2 * columns + max(stack + panels, columns * max(inputs, outputs + BLOCK_ROWS), COPY_BYTES // size)


def _block_columns(rows: int, lanes: int, size: int) -> int:
    """As many columns of d as fit into BLOCK_BYTES, in whole vectors."""
    return max(1, BLOCK_BYTES // (max(rows, 1) * size * lanes)) * lanes


def _panel(rows: int, width: int, lanes: int) -> int:
    """Elements from one panel to the next: with a gap of a cache line, as the same rows of all panels would share their
    place in the first cache if `rows` is a power of two."""
    return rows * width + lanes


_block_columns_inlined, _panel_inlined = pasted(_block_columns), pasted(_panel)


@pasted
def _zeros_first(scratch):
    """A row of zeros for tiles to start from, at the start of a cache line, and the scratch behind it."""
    columns = TILE_BYTES // scratch.itemsize
    skipped = (-scratch.ctypes.data % VECTOR_BYTES) // scratch.itemsize
    zeros = scratch[skipped : skipped + columns]
    zeros[:] = 0
    return zeros, scratch[skipped + columns :]


@pasted
def _product_panel(
    c, at_c, ldc, start, at_start, start_row, a, at_a, a_row, b, at_b, b_k, has_more, rows, depth, width, epilogue, y
):
    """c (rows, width) = epilogue of a (rows, depth) b (depth, width) + start (rows, width), each flat from an offset.

    The rows of c and y are ldc apart, those of the others start_row, a_row, b_k. has_more: the columns of b go on,
    and will be read next.
    """
    i, lanes = 0, VECTOR_BYTES // c.itemsize
    if width == TILE_BYTES // c.itemsize:
        tiles, left = rows // MAX_ROWS, rows % MAX_ROWS
        if tiles > 0 and 0 < left <= 2 * LOW_ROWS - MAX_ROWS:  # two low tiles instead of a high one and a rest
            tiles, left = tiles - 1, left + MAX_ROWS
        low_tiles = left // LOW_ROWS
        product_panel(
            c, at_c, tiles, low_tiles, ldc, start, at_start, start_row, a, at_a, a_row,
            b, at_b, b_k, b, at_b + width, min(tiles, MAX_VECTORS) if has_more else 0, depth, epilogue, y, at_c,
        )  # fmt: skip
        i = tiles * MAX_ROWS + low_tiles * LOW_ROWS
    while i < rows:
        left = rows - i
        low = left <= LOW_ROWS or MAX_ROWS < left <= 2 * LOW_ROWS
        most = LOW_ROWS if low else MASKED_ROWS if width % lanes else MAX_ROWS
        height = min(left, NARROW_ROWS if width * c.itemsize <= NARROW_BYTES else most)
        product_tile(
            c, at_c + i * ldc, height, ldc, start, at_start + i * start_row, start_row, a, at_a + i * a_row, a_row,
            b, at_b, b_k, depth, width, epilogue, y, at_c + i * ldc,
        )  # fmt: skip
        i += height


@pasted
def _product(y, x, at_x, w, start, start_step, start_row, epilogue, scratch):
    """y = epilogue of start + the columns of x from at_x on, as many as w has rows, times w.

    start: flat, start_step from column to column, start_row from row to row.
    """
    (rows, all_inputs), (inputs, outputs) = x.shape, w.shape
    y, x, w = flat(y), flat(x), flat(w)
    columns = TILE_BYTES // y.itemsize
    is_small, is_large = w.size * w.itemsize <= FIRST_CACHE_BYTES, w.size * w.itemsize > WORTH_BLOCKS
    is_wide = y.size * y.itemsize >= WIDE_BYTES
    copies = NARROW_TILES and ((rows >= WORTH_COPYING and not is_small) or (is_large and is_wide))
    fetches = not copies and w.size * w.itemsize > WORTH_FETCHING
    most = BLOCK_DEPTH if NARROW_TILES and not copies and is_large else max(inputs, 1)
    panel = most * columns
    strip = max(1, COPY_BYTES // (panel * y.itemsize)) * columns if copies else columns
    for k in range(0, max(inputs, 1), most):
        depth = min(most, inputs - k)
        f = epilogue if k + depth == inputs else IDENTITY
        for begin in range(0, outputs, strip):
            end = min(begin + strip, outputs)
            if copies:
                copy_panels(scratch, 0, panel, w, begin, outputs, depth, end - begin)
            for j in range(begin, end, columns):
                width, b, at_b, b_k = min(columns, end - j), w, k * outputs + j, outputs
                if copies:
                    b, at_b, b_k = scratch, (j - begin) // columns * panel, columns
                first, at_first, first_row = (start, j * start_step, start_row) if k == 0 else (y, j, outputs)
                _product_panel(
                    y, j, outputs, first, at_first, first_row, x, at_x + k, all_inputs, b, at_b, b_k,
                    fetches and j + columns < outputs, rows, depth, width, f, y,
                )  # fmt: skip


@kernel
def dense_forward(y, x, w, b, f, scratch):
    """y (N, O) = f(x (N, I) w (I, O) + b (O,)). w (n, O) with fewer rows: the sum over the first n inputs alone."""
    _, panel = _zeros_first(scratch)
    _product(y, x, 0, w, b, 1, 0, f, panel)


@kernel
def dense_forward_without_bias(y, x, w, f, scratch):
    """y (N, O) = f(x (N, I) w (I, O)). w (n, O) with fewer rows: the sum over the first n inputs alone."""
    zeros, panel = _zeros_first(scratch)
    _product(y, x, 0, w, zeros, 0, 0, f, panel)


@kernel
def dense_forward_more(y, x, w, begin_input, f, scratch):
    """y (N, O) = f(y + x w), for w (n, O) and those n inputs of x (N, I) from begin_input on: the sum goes on."""
    _, panel = _zeros_first(scratch)
    _product(y, x, begin_input, w, flat(y), 1, y.shape[1], f, panel)


@pasted
def _tree_products(dw, x, d, begin_input, bounds, scratch):
    """dw (n, O) = the rows from begin_input on of the tree over shards of x^T d."""
    (inputs, outputs), all_inputs, lanes = dw.shape, x.shape[1], VECTOR_BYTES // dw.itemsize
    dw, x, d = flat(dw), flat(x), flat(d)
    shards, first, rows = bounds.size - 1, bounds[0], bounds[-1] - bounds[0]
    block = _block_columns_inlined(rows, lanes, dw.itemsize)
    is_small = rows * (all_inputs + outputs) * dw.itemsize <= FIRST_CACHE_BYTES
    copies_d = (inputs >= WORTH_COPYING and not is_small) or outputs % lanes != 0  # a tile reads whole vectors
    strip = STRIP_BYTES // dw.itemsize
    x_panel, d_panel = _panel_inlined(rows, TREE_ROWS, lanes), _panel_inlined(rows, lanes, lanes)
    d_copy = scratch[strip // TREE_ROWS * x_panel :]
    stack = d_copy[min(block, -(-outputs // lanes) * lanes) // lanes * d_panel :]
    for begin in range(0, outputs, block):  # so much of d stays in the second cache
        end = min(begin + block, outputs)
        if copies_d:
            copy_panels(d_copy, 0, d_panel, d, first * outputs + begin, outputs, rows, end - begin)
        i = 0
        while i < inputs:
            height = min(strip, inputs - i)
            a, at_a, a_panel, a_k = x, begin_input + i, TREE_ROWS, all_inputs
            if is_small and height >= TREE_ROWS:
                height -= height % TREE_ROWS
            else:
                copy_tree_panels(scratch, 0, x_panel, x, first * all_inputs + at_a, all_inputs, rows, height)
                a, at_a, a_panel, a_k = scratch, -first * TREE_ROWS, x_panel, TREE_ROWS
            for j in range(begin, end, lanes):
                b, at_b, b_k = d, j, outputs
                if copies_d:
                    b, at_b, b_k = d_copy, (j - begin) // lanes * d_panel - first * lanes, lanes
                tree_panel(
                    dw, i * outputs + j, height, outputs, a, at_a, a_panel, a_k,
                    b, at_b, b_k, bounds, 0, shards, stack, 0, min(lanes, end - j),
                )  # fmt: skip
            i += height


@pasted
def _thin_tree_products(dw, x, d, begin_input, bounds, scratch):
    """dw^T = tree over shards of d^T x, for few outputs: lanes are inputs, so that none is wasted. Same bits."""
    (inputs, outputs), columns = dw.shape, THIN_VECTORS * VECTOR_BYTES // dw.itemsize
    all_inputs, height = x.shape[1], min(THIN_ROWS, outputs)
    dw, x, d = flat(dw), flat(x), flat(d)
    block, stack = scratch[: THIN_ROWS * columns], scratch[THIN_ROWS * columns :]
    for i in range(0, inputs, columns):
        width = min(columns, inputs - i)
        for tile in range(0, outputs, THIN_ROWS):
            o = min(tile, outputs - height)  # the last tile is as high as the others, and computes some rows again
            tree_tile(
                block, 0, height, columns, d, o, outputs, x, begin_input + i, all_inputs,
                bounds, 0, bounds.size - 1, stack, 0, width,
            )  # fmt: skip
            if height == THIN_ROWS:
                transpose_strip(dw, i * outputs + o, outputs, block, 0, columns, width)
            else:
                for n in range(height):
                    for j in range(width):
                        dw[(i + j) * outputs + o + n] = block[n * columns + j]


@pasted
def _weights(dw, x, d, begin_input, bounds, scratch):
    if dw.shape[1] * dw.itemsize <= THIN_BYTES:
        _thin_tree_products(dw, x, d, begin_input, bounds, scratch)
    else:
        _tree_products(dw, x, d, begin_input, bounds, scratch)


@kernel
def dense_backward_weights(dw, x, d, begin_input, bounds, scratch):
    """dw (n, O) = tree over shards of x^T d, for n of the I inputs, from begin_input on.

    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d, perhaps
    none; at least one shard.
    """
    _, rest = _zeros_first(scratch)
    _weights(dw, x, d, begin_input, bounds, rest)


@kernel
def dense_backward_params(dw, db, x, d, begin_input, begin_output, bounds, scratch):
    """dw (n, O) = tree over shards of x^T d; db (m,) = tree over shards of the sums of their rows of d.

    For n of the I inputs, from begin_input on, and m of the O outputs, from begin_output on.
    bounds (shards + 1,) int64: shard s has the rows bounds[s] to bounds[s + 1] of x and d, perhaps
    none; at least one shard.
    """
    one, rest = _zeros_first(scratch)
    _weights(dw, x, d, begin_input, bounds, rest)
    one[0] = 1  # a sum of rows is the product with ones, as 1 d is exact
    outputs, columns = d.shape[1], THIN_VECTORS * VECTOR_BYTES // d.itemsize
    d = flat(d)
    for j in range(0, db.size, columns):
        tree_tile(
            db, j, 1, db.size, one, 0, 0, d, begin_output + j, outputs,
            bounds, 0, bounds.size - 1, rest, 0, min(columns, db.size - j),
        )  # fmt: skip


@pasted
def _input_by_transposed_weights(dx, d, w, epilogue, y, zeros, panel, rows, inputs, outputs):
    """dx = d w^T for many rows: w is transposed, in panels of as many inputs as a tile has columns."""
    columns = zeros.size
    for j in range(0, inputs, columns):
        width = min(columns, inputs - j)
        transpose(panel, 0, columns, w, j * outputs, outputs, width, outputs)
        _product_panel(
            dx, j, inputs, zeros, 0, 0, d, 0, outputs, panel, 0, columns, False, rows, outputs, width, epilogue, y
        )


@pasted
def _input_by_transposed_samples(dx, d, w, zeros, scratch, rows, inputs, outputs):
    """dx^T = w d^T for few rows: d and the result are transposed, not the larger w; lanes are samples. Same bits."""
    columns = zeros.size
    block, panel = scratch[: BLOCK_ROWS * columns], scratch[BLOCK_ROWS * columns :]
    for n in range(0, rows, columns):
        width = min(columns, rows - n)
        transpose(panel, 0, columns, d, n * outputs, outputs, width, outputs)
        for i in range(0, inputs, BLOCK_ROWS):
            height = min(BLOCK_ROWS, inputs - i)
            _product_panel(
                block, 0, columns, zeros, 0, 0, w, i * outputs, outputs, panel, 0, columns,
                False, height, outputs, width, IDENTITY, block,
            )  # fmt: skip
            transpose(dx, n * inputs + i, inputs, block, 0, columns, height, width)


@pasted
def _times_slope(dx, x, epilogue):
    """dx = dx f'(x), as the tile does it."""
    zero, slope = dx.dtype.type(0), dx.dtype.type(LEAKY_SLOPE)
    if epilogue == RELU_SLOPE:
        for i in range(dx.size):
            dx[i] = zero if x[i] <= zero else dx[i]
    elif epilogue == LEAKY_RELU_SLOPE:
        for i in range(dx.size):
            dx[i] = dx[i] if x[i] > zero else slope * dx[i]


@kernel
def dense_backward_input(dx, d, w, x, f, scratch):
    """dx (N, I) = d (N, O) w^T (O, I) f'(x), where f is the activation that has made x (N, I)."""
    (rows, outputs), inputs = d.shape, w.shape[0]
    flat_dx, flat_d, flat_w, flat_x = flat(dx), flat(d), flat(w), flat(x)
    zeros, rest = _zeros_first(scratch)
    epilogue = RELU_SLOPE if f == RELU else LEAKY_RELU_SLOPE if f == LEAKY_RELU else IDENTITY
    if rows * (inputs + outputs) < w.size:
        _input_by_transposed_samples(flat_dx, flat_d, flat_w, zeros, rest, rows, inputs, outputs)
        _times_slope(flat_dx, flat_x, epilogue)
    else:
        _input_by_transposed_weights(flat_dx, flat_d, flat_w, epilogue, flat_x, zeros, rest, rows, inputs, outputs)
