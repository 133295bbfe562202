"""Tree sums, bit for bit, against the recursive definition of the tree."""

from itertools import pairwise

import numpy as np
import pytest

from distprop.kernels.tree import BLOCK, column_sums, tree_sum

TYPES = [np.float32, np.float64]


def halves(low, high):
    """Where a node over the leaves [low, high) splits: at the largest power of two below their number."""
    power = 1
    while 2 * power < high - low:
        power *= 2
    return low + power


def tree(parts):
    if len(parts) == 1:
        return parts[0]
    middle = halves(0, len(parts))
    return tree(parts[:middle]) + tree(parts[middle:])


def postfix(low, high):
    if high - low == 1:
        return [low]
    middle = halves(low, high)
    return [*postfix(low, middle), *postfix(middle, high), -1]


def expected_column_sums(values, bounds):
    sums = []
    for start, end in pairwise(bounds):
        total = np.zeros(values.shape[1], values.dtype)
        for row in values[start:end]:
            total = total + row
        sums.append(total)
    return tree(sums)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shards", [1, 2, 3, 5, 7, 8, 11, 16, 31])
def test_column_sums_follow_the_tree_over_shards(shards, dtype):
    rng = np.random.default_rng(shards)
    for rows, columns in ((0, 3), (1, 1), (5, 7), (33, 19), (64, 2)):
        values = rng.normal(size=(rows, columns)).astype(dtype)
        bounds = np.arange(shards + 1) * rows // shards
        out = np.full(columns, np.nan, dtype)
        scratch = np.full((shards.bit_length(), columns), np.nan, dtype)
        column_sums(out, values, bounds, scratch)
        assert np.array_equal(out, expected_column_sums(values, bounds))


def test_column_sums_start_at_the_first_bound_and_stop_at_the_last():
    values = np.arange(30.0).reshape(10, 3)
    out, scratch = np.full(3, np.nan), np.full((2, 3), np.nan)
    column_sums(out, values, np.array([2, 5, 9]), scratch)
    assert np.array_equal(out, values[2:9].sum(axis=0))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 7, 8, 13])
@pytest.mark.parametrize("length", [0, 1, 7, BLOCK, BLOCK + 1, 3 * BLOCK - 5])
def test_tree_sum_follows_its_plan(parts, length, dtype):
    rng = np.random.default_rng(parts)
    buffer = rng.normal(size=(parts, length + 11)).astype(dtype)
    spread = buffer[:, 4 : 4 + length]  # rows lie apart
    out, scratch = np.full(length, np.nan, dtype), np.full((8, BLOCK), np.nan, dtype)
    tree_sum(out, spread, np.array(postfix(0, parts), np.int32), scratch)
    assert np.array_equal(out, tree(list(spread)))


def test_tree_sum_groups_as_its_plan_says():
    parts = np.array([[1e16], [1.0], [-1e16], [1.0]])
    out, scratch = np.full(1, np.nan), np.full((4, BLOCK), np.nan)
    tree_sum(out, parts, np.array([0, 1, -1, 2, 3, -1, -1], np.int32), scratch)
    assert out[0] == (1e16 + 1.0) + (-1e16 + 1.0)
    tree_sum(out, parts, np.array([0, 2, -1, 1, 3, -1, -1], np.int32), scratch)
    assert out[0] == 2.0


def test_nan_and_infinity_go_through_a_tree_sum():
    parts = np.array([[np.nan, np.inf, 1.0], [0.0, 1.0, 2.0]])
    out, scratch = np.full(3, -1.0), np.full((2, BLOCK), np.nan)
    tree_sum(out, parts, np.array([0, 1, -1], np.int32), scratch)
    assert np.array_equal(out, [np.nan, np.inf, 3.0], equal_nan=True)
