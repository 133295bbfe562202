"""Sums of squares of fixed blocks: the parts of a norm that are the same however the vector is cut into slices."""

import numpy as np

from distprop.kernels.jit import inlined, kernel

BLOCK = 1024  # elements


@inlined
def _square(values, i):
    return np.float64(values[i]) * np.float64(values[i])


@inlined
def _square_sum(values, first, last):
    """Eight sums, each over every eighth element, added in pairs; then the elements that are left over, one by one."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = first + (last - first) // 8 * 8
    for i in range(first, whole, 8):  # LLVM keeps the eight in one vector
        s0 += _square(values, i)
        s1 += _square(values, i + 1)
        s2 += _square(values, i + 2)
        s3 += _square(values, i + 3)
        s4 += _square(values, i + 4)
        s5 += _square(values, i + 5)
        s6 += _square(values, i + 6)
        s7 += _square(values, i + 7)
    total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
    for i in range(whole, last):
        total += _square(values, i)
    return total


@kernel
def block_square_sums(sums, values):
    """sums[k] = sum of squares of values[k * BLOCK : (k + 1) * BLOCK], in float64. NaN and infinity come through.

    values (L,) float; sums (ceil(L / BLOCK),) float64. A slice of a vector that starts at a multiple of BLOCK gives
    the very sums that the whole vector gives for its blocks.
    """
    size = values.shape[0]
    for k in range(sums.shape[0]):
        sums[k] = _square_sum(values, k * BLOCK, min((k + 1) * BLOCK, size))


@kernel
def ordered_sum(values):
    """The sum of values (L,) float64, one after the other: of the blocks' sums, whoever computed them."""
    total = 0.0
    for value in values:
        total += value
    return total
