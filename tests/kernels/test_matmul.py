"""Single tiles: every shape, strides, and nothing written beside them."""

import numba
import numpy as np
import pytest

from distprop.kernels.matmul import (
    IDENTITY,
    LEAKY_RELU,
    LEAKY_RELU_SLOPE,
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
from distprop.kernels.vectors import VECTOR_BYTES

TYPES = [np.float32, np.float64]
EPILOGUES = {
    IDENTITY: lambda c, y: c,
    RELU: lambda c, y: np.where(c < 0, 0, c),
    LEAKY_RELU: lambda c, y: np.where(c > 0, c, c.dtype.type(0.01) * c),
    RELU_SLOPE: lambda c, y: np.where(y <= 0, 0, c),
    LEAKY_RELU_SLOPE: lambda c, y: np.where(y > 0, c, c.dtype.type(0.01) * c),
}


@numba.njit
def one_product(rows, c, start, a, b, depth, columns, epilogue, y):
    product_tile(c, 3, rows, 100, start, 0, 64, a, 0, 64, b, 0, 64, depth, columns, epilogue, y, 3)


@numba.njit
def whole_products(tiles, low_tiles, c, start, a, b, depth, epilogue, y):
    ahead_tiles = min(tiles, MAX_VECTORS)
    product_panel(
        c, 3, tiles, low_tiles, 100, start, 0, 64, a, 0, 64, b, 0, 64, b, 1 << 40, ahead_tiles, depth, epilogue, y, 3
    )


@numba.njit
def one_panel(rows, c, a, a_panel, a_k, b, bounds, stack, columns):
    tree_panel(c, 3, rows, 100, a, 0, a_panel, a_k, b, 0, 64, bounds, 0, bounds.size - 1, stack, 0, columns)


@numba.njit
def one_tree(rows, c, a, a_k, b, bounds, stack, columns):
    tree_tile(c, 3, rows, 100, a, 1, a_k, b, 1, 66, bounds, 0, bounds.size - 1, stack, 0, columns)


def small_integers(shape, dtype, seed=0):
    """Every sum of products of these is exact."""
    return np.random.default_rng(seed).integers(-8, 8, shape).astype(dtype)


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", TYPES)
def test_every_product_writes_its_elements_and_no_others(dtype):
    most = max(MAX_ROWS, NARROW_ROWS)
    a, b, start = (small_integers(shape, dtype, seed) for seed, shape in enumerate([(most, 64), (64, 64), (most, 64)]))
    y = small_integers((most + 1, 100), dtype, 3)
    for rows in range(1, most + 1):
        for columns in range(1, MAX_VECTORS * lanes(dtype) + 1):
            is_narrow = columns * np.dtype(dtype).itemsize <= NARROW_BYTES
            if rows > (NARROW_ROWS if is_narrow else MASKED_ROWS if columns % lanes(dtype) else MAX_ROWS):
                continue
            c, epilogue = np.full((most + 1) * 100, np.nan, dtype), (rows + columns) % len(EPILOGUES)
            one_product(rows, c, start.ravel(), a.ravel(), b.ravel(), 5, columns, epilogue, y.ravel())
            expected = np.full_like(c, np.nan).reshape(-1, 100)
            sums = a[:rows, :5] @ b[:5, :columns] + start[:rows, :columns]
            expected[:rows, 3 : 3 + columns] = EPILOGUES[epilogue](sums, y[:rows, 3 : 3 + columns])
            np.testing.assert_array_equal(c.reshape(-1, 100), expected)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_whole_tiles_write_their_rows_and_no_others(dtype, epilogue):
    columns = MAX_VECTORS * lanes(dtype)
    for tiles, low_tiles, depth in [(0, 0, 3), (1, 0, 5), (0, 1, 4), (0, 2, 1), (1, 1, 7), (3, 2, 2), (2, 1, 0)]:
        rows = tiles * MAX_ROWS + low_tiles * LOW_ROWS
        a, start = (small_integers((rows + 1, 64), dtype, seed) for seed in (0, 2))
        b, y = small_integers((64, 64), dtype, 1), small_integers((rows + 1, 100), dtype, 3)
        c = np.full((rows + 1) * 100, np.nan, dtype)
        whole_products(tiles, low_tiles, c, start.ravel(), a.ravel(), b.ravel(), depth, epilogue, y.ravel())
        expected = np.full_like(c, np.nan).reshape(-1, 100)
        sums = a[:rows, :depth] @ b[:depth, :columns] + start[:rows, :columns]
        expected[:rows, 3 : 3 + columns] = EPILOGUES[epilogue](sums, y[:rows, 3 : 3 + columns])
        np.testing.assert_array_equal(c.reshape(-1, 100), expected)


@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_what_is_done_to_the_sums_keeps_signs_of_zero_infinities_and_nan(epilogue):
    special = np.array([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45], np.float32)
    c, y = (grid.ravel() for grid in np.meshgrid(special, special))
    a, got = np.ones(64, np.float32), np.full(100, np.nan, np.float32)
    for first in range(0, c.size, 16):
        part = slice(first, min(first + 16, c.size))
        count = part.stop - part.start
        start, slopes = np.zeros(64, np.float32), np.zeros(100, np.float32)
        start[:count], slopes[3 : 3 + count] = c[part], y[part]
        one_product(1, got, start, a, a, 0, count, epilogue, slopes)
        expected = EPILOGUES[epilogue](c[part], y[part]).astype(np.float32)
        np.testing.assert_array_equal(got[3 : 3 + count].view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("dtype", TYPES)
def test_every_panel_of_trees_writes_its_elements_and_no_others(dtype):
    panels, b = small_integers((4, 30, TREE_ROWS), dtype), small_integers((30, 64), dtype, 1)
    a = np.hstack(panels)  # (30, 4 TREE_ROWS)
    bounds, stack = np.array([0, 3, 3, 5, 9, 10, 14, 20, 21, 22, 30]), np.empty(5 * 8 * lanes(dtype), dtype)
    for rows in range(1, 4 * TREE_ROWS + 1):
        for columns in range(1, lanes(dtype) + 1, 1 if rows <= TREE_ROWS else 5):
            c = np.full((rows + 1) * 100, np.nan, dtype)
            copied, in_place = (panels, panels[0].size, TREE_ROWS), (a, TREE_ROWS, a.shape[1])
            matrix, a_panel, a_k = copied if columns % 2 else in_place
            one_panel(rows, c, matrix.reshape(-1), a_panel, a_k, b.reshape(-1), bounds, stack, columns)
            expected = np.full_like(c, np.nan).reshape(-1, 100)
            expected[:rows, 3 : 3 + columns] = a[:, :rows].T @ b[:, :columns]
            np.testing.assert_array_equal(c.reshape(-1, 100), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_thin_tree_writes_its_elements_and_reads_and_writes_no_others(dtype):
    widest = THIN_VECTORS * lanes(dtype)
    bounds, stack = np.array([2, 3, 3, 5, 9, 10, 12, 17, 20, 30]), np.empty(5 * 8 * lanes(dtype), dtype)
    for rows in range(1, THIN_ROWS + 1):
        for columns in range(1, widest + 1):
            a, b = np.full((30, 6), np.nan, dtype), np.full((30, 66), np.nan, dtype)
            a[2:, 1 : 1 + rows] = small_integers((28, rows), dtype)
            b[2:, 1 : 1 + columns] = small_integers((28, columns), dtype, 1)
            c = np.full((rows + 1) * 100, np.nan, dtype)
            one_tree(rows, c, a.reshape(-1), 6, b.reshape(-1), bounds, stack, columns)
            expected = np.full_like(c, np.nan).reshape(-1, 100)
            expected[:rows, 3 : 3 + columns] = a[2:, 1 : 1 + rows].T @ b[2:, 1 : 1 + columns]
            np.testing.assert_array_equal(c.reshape(-1, 100), expected)


@pytest.mark.parametrize("shards", range(1, 34))
def test_a_tree_of_any_number_of_shards_adds_in_its_order(shards):
    """One row a shard, so that nothing but the tree rounds."""
    a = np.ones((shards, TREE_ROWS), np.float32)
    b = np.random.default_rng(shards).standard_normal((shards, 64), np.float32)
    c, stack = np.zeros(5 * 100, np.float32), np.empty(5 * 8 * 16, np.float32)
    one_panel(4, c, a.reshape(-1), a.size, TREE_ROWS, b.reshape(-1), np.arange(shards + 1), stack, 16)
    for row in c.reshape(-1, 100)[:4, 3:19]:
        np.testing.assert_array_equal(row, tree(b[:, :16]))


def tree(values):
    """The sum of the left half, the largest power of two that leaves something, and of the rest."""
    if len(values) == 1:
        return values[0]
    half = 1 << (len(values) - 1).bit_length() - 1
    return tree(values[:half]) + tree(values[half:])
