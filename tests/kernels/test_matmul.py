"""Single tiles: every shape, strides, and nothing written beside them."""

import numba
import numpy as np
import pytest

from distprop.kernels.matmul import MAX_ROWS, MAX_VECTORS, VECTOR_BYTES, product_tile, transpose_tile

TYPES = [np.float32, np.float64]


@numba.njit
def one_product(rows, c, start, a, a_row, a_k, b, b_k, depth, columns):
    product_tile(rows, c, 3, 100, start, 0, 0, a, 0, a_row, a_k, b, 0, b_k, depth, columns)


@numba.njit
def one_transposition(target, source, rows, columns):
    transpose_tile(target, 2, 20, source, 0, 30, rows, columns)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_tile_shape_writes_its_elements_and_no_others(dtype):
    widest = MAX_VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize
    whole = np.random.default_rng(0).integers(-8, 8, (9, 64)).astype(dtype)  # small integers: every sum is exact
    start = np.arange(64, dtype=dtype)
    for rows in range(1, MAX_ROWS + 1):
        for columns in range(1, widest + 1):
            a, b = whole[:5, :rows], whole[4:, :columns]  # a lies transposed
            c = np.full((rows + 1) * 100, np.nan, dtype)
            one_product(rows, c, start, whole.reshape(-1), 1, 64, whole[4:].reshape(-1), 64, 5, columns)
            expected = np.full_like(c, np.nan).reshape(-1, 100)
            expected[:rows, 3 : 3 + columns] = a.T @ b + start[:columns]
            np.testing.assert_array_equal(c.reshape(-1, 100), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_transposition_of_every_size_writes_its_elements_and_no_others(dtype):
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    source = np.arange(lanes * 30, dtype=dtype).reshape(lanes, 30)
    for rows in range(1, lanes + 1):
        for columns in range(1, lanes + 1):
            target = np.full((lanes + 1) * 20, np.nan, dtype)
            one_transposition(target, source, rows, columns)
            expected = np.full_like(target, np.nan).reshape(-1, 20)
            expected[:columns, 2 : 2 + rows] = source[:rows, :columns].T
            np.testing.assert_array_equal(target.reshape(-1, 20), expected)
