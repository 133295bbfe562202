"""Sums of squares of fixed blocks: their order, their accuracy, and what is not finite."""

import functools
import math
import operator

import numpy as np
import pytest

from distprop.kernels.norms import BLOCK, block_square_sums, ordered_sum


def block_sums(values):
    sums = np.full(-(-values.size // BLOCK), np.nan)
    block_square_sums(sums, values)
    return sums


def sum_by_definition(block):
    """Eight sums over every eighth element, added in pairs; then the rest."""
    whole = block.size // 8 * 8
    s = [0.0] * 8
    for i in range(whole):
        s[i % 8] += float(block[i]) * float(block[i])
    total = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
    for value in block[whole:]:
        total += float(value) * float(value)
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 77])
def test_each_block_is_summed_in_the_written_order(size, dtype):
    values = np.random.default_rng(size).normal(size=size).astype(dtype)
    blocks = [values[first : first + BLOCK] for first in range(0, size, BLOCK)]
    sums = block_sums(values)
    assert sums.tolist() == [sum_by_definition(block) for block in blocks]
    assert ordered_sum(sums) == pytest.approx(math.fsum(float(v) ** 2 for v in values), rel=1e-14, abs=0)


def test_slices_cut_at_blocks_give_the_sums_of_the_whole():
    values = np.random.default_rng(0).normal(size=5 * BLOCK + 3).astype(np.float32)
    cut = 2 * BLOCK
    assert np.array_equal(np.concatenate([block_sums(values[:cut]), block_sums(values[cut:])]), block_sums(values))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 500, BLOCK + 9, 2 * BLOCK + 2])
def test_what_is_not_finite_comes_through(bad, place):
    values = np.ones(2 * BLOCK + 3, np.float32)
    values[place] = bad
    finite = np.isfinite(block_sums(values))
    assert finite.tolist() == [place // BLOCK != k for k in range(3)]
    assert not math.isfinite(ordered_sum(block_sums(values)))


def test_squares_of_large_float32_numbers_do_not_overflow():
    assert block_sums(np.array([3e38, 1], np.float32))[0] == float(np.float32(3e38)) ** 2 + 1


def test_the_sum_of_the_blocks_goes_from_left_to_right():
    many = np.random.default_rng(4).normal(size=1003)  # more than fit into registers
    assert ordered_sum(many) == functools.reduce(operator.add, many.tolist(), 0.0)
    assert ordered_sum(np.array([1e16, 1.0, -1e16, 3.0])) == ((1e16 + 1.0) - 1e16) + 3.0
    assert ordered_sum(np.array([0.1] * 3, np.float32)) == float(np.float32(0.1)) * 2 + float(np.float32(0.1))
