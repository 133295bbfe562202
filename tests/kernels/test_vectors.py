"""Blocks that are copied and transposed: every size, and nothing written beside them."""

import numba
import numpy as np
import pytest

from distprop.kernels.vectors import VECTOR_BYTES, panel_copier, transpose

TYPES = [np.float32, np.float64]
COPIERS = {None: panel_copier(), 4: panel_copier(4)}


@numba.njit
def one_transposition(target, source, rows, columns):
    transpose(target, 2, 40, source, 0, 40, rows, columns)


def copier(width):
    copy_panels = COPIERS[width]

    @numba.njit
    def one_copy(target, panel, source, rows, columns):
        copy_panels(target, 2, panel, source, 1, 40, rows, columns)

    return one_copy


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


@pytest.mark.parametrize("width", COPIERS)
@pytest.mark.parametrize("dtype", TYPES)
def test_panels_are_filled_up_with_zeros_and_nothing_is_read_beside_the_columns(dtype, width):
    rows, gap, lanes, one_copy = 5, 3, VECTOR_BYTES // np.dtype(dtype).itemsize, copier(width)
    width = width or lanes
    for columns in range(1, 2 * lanes + 2):
        filled = np.zeros((rows, -(-columns // lanes) * lanes), dtype)
        filled[:, :columns] = 1 + np.arange(rows * columns).reshape(rows, columns)
        source = np.full((rows, 40), np.nan, dtype)
        source[:, 1 : 1 + columns] = filled[:, :columns]
        panels = np.hsplit(filled, filled.shape[1] // width)
        target = np.full((len(panels), rows * width + gap), np.nan, dtype)
        whole = np.full(target.size + 5, np.nan, dtype)
        one_copy(whole, target.shape[1], source.reshape(-1), rows, columns)
        target[:, : rows * width] = [panel.ravel() for panel in panels]
        expected = np.concatenate([[np.nan] * 2, target.ravel(), [np.nan] * 3]).astype(dtype)
        np.testing.assert_array_equal(whole, expected)
