"""Blocks that are copied and transposed: every size, and nothing written beside them."""

import numba
import numpy as np
import pytest

from distprop.kernels.vectors import VECTOR_BYTES, copy_panels, transpose

TYPES = [np.float32, np.float64]


@numba.njit
def one_transposition(target, source, rows, columns):
    transpose(target, 2, 40, source, 0, 40, rows, columns)


@numba.njit
def one_copy(target, source, rows, columns):
    copy_panels(target, 2, source, 1, 40, rows, columns)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_transposition_of_every_size_writes_its_elements_and_no_others(dtype):
    most = 2 * VECTOR_BYTES // np.dtype(dtype).itemsize + 1
    source = np.arange(most * 40, dtype=dtype).reshape(most, 40)
    for rows in range(1, most + 1):
        for columns in range(1, most + 1):
            target = np.full((most + 1) * 40, np.nan, dtype)
            one_transposition(target, source, rows, columns)
            expected = np.full_like(target, np.nan).reshape(-1, 40)
            expected[:columns, 2 : 2 + rows] = source[:rows, :columns].T
            np.testing.assert_array_equal(target.reshape(-1, 40), expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_panels_are_filled_up_with_zeros_and_nothing_is_read_beside_the_columns(dtype):
    rows, lanes = 5, VECTOR_BYTES // np.dtype(dtype).itemsize
    for columns in range(1, 2 * lanes + 2):
        panels = -(-columns // lanes)
        filled = np.zeros((rows, panels * lanes), dtype)
        filled[:, :columns] = 1 + np.arange(rows * columns).reshape(rows, columns)
        source = np.full((rows, 40), np.nan, dtype)
        source[:, 1 : 1 + columns] = filled[:, :columns]
        target = np.full(filled.size + 5, np.nan, dtype)
        one_copy(target, source.reshape(-1), rows, columns)
        assert np.isnan(target[:2]).all() and np.isnan(target[2 + filled.size :]).all()
        expected = np.stack(np.hsplit(filled, panels))
        np.testing.assert_array_equal(target[2 : 2 + filled.size].reshape(expected.shape), expected)
