"""Blocks that are copied and transposed: every size, and nothing written beside them."""

import numba
import numpy as np
import pytest

from distprop.kernels.vectors import VECTOR_BYTES, copy_columns, transpose_tile

TYPES = [np.float32, np.float64]


@numba.njit
def one_transposition(target, source, rows, columns):
    transpose_tile(target, 2, 20, source, 0, 30, rows, columns)


@numba.njit
def one_copy(target, source, rows, columns):
    copy_columns(target, 2, 20, source, 1, 30, rows, columns)


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


@pytest.mark.parametrize("dtype", TYPES)
def test_a_copy_fills_whole_vectors_with_zeros_and_reads_nothing_beside_its_columns(dtype):
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    for columns in range(1, lanes + 1):
        source = np.full((5, 30), np.nan, dtype)
        source[:, 1 : 1 + columns] = np.arange(5 * columns).reshape(5, columns)
        target = np.full(6 * 20, np.nan, dtype)
        one_copy(target, source.reshape(-1), 5, columns)
        expected = np.full_like(target, np.nan).reshape(-1, 20)
        expected[:5, 2 : 2 + lanes] = 0
        expected[:5, 2 : 2 + columns] = source[:, 1 : 1 + columns]
        np.testing.assert_array_equal(target.reshape(-1, 20), expected)
