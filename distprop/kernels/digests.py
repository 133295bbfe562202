"""A digest of the parameters: 64 bits, exact, and the sum of the digests of any slices, whoever computed them.

    digest(v) = sum over i of mix(bits of v[i] + (i + 1) golden)    modulo 2^64

mix is the finaliser of SplitMix64 (Steele, Lea and Flood, 2014; constants of Stafford's variant 13). It is a
permutation of the 64-bit numbers, so a change of one element always changes the digest; a change of several goes unseen
once in 2^64 times.
"""

import numpy as np

from distprop.kernels.floats import float_bits
from distprop.kernels.jit import inlined, kernel
from distprop.kernels.step import STEP

DIVERGED = 2  # returned by a kernel: copies of the parameters differ

# Of every constant the type is given: Numba turns a uint64 and a signed integer into a float64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_0 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_1 = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)


@inlined
def _mixed(z):
    z = (z ^ (z >> np.uint64(30))) * _MULTIPLIER_0
    z = (z ^ (z >> np.uint64(27))) * _MULTIPLIER_1
    return z ^ (z >> np.uint64(31))


@kernel
def slice_digest(digest, values, first):
    """digest (1,) uint64 = that of values (L,) float, which are elements [first, first + L) of a vector."""
    total = np.uint64(0)
    start = (np.uint64(first) + _ONE) * _GOLDEN
    for i in range(values.shape[0]):
        total += _mixed(np.uint64(float_bits(values[i])) + start + np.uint64(i) * _GOLDEN)
    digest[0] = total


@kernel
def digest_when_due(digest, values, first, clock, due, every):
    """The same when due[0] steps have been done; then the next one is due `every` steps later. Else nothing."""
    if clock[STEP] == due[0]:
        slice_digest(digest, values, first)
        due[0] += every


@kernel
def compare_copies(digests, copies, clock, due, every):
    """In a step in which digests were computed: DIVERGED if copies of the parameters have different ones, else 0.

    digests (size,) uint64: every rank's share; copies (C + 1,) int64: copy c is that of the ranks [copies[c],
    copies[c + 1]), whose shares add up to its digest.
    """
    if clock[STEP] + every != due[0]:
        return 0
    same = np.uint64(0)
    for copy in range(copies.shape[0] - 1):
        total = np.uint64(0)
        for rank in range(copies[copy], copies[copy + 1]):
            total += digests[rank]
        if copy > 0 and total != same:
            return DIVERGED
        same = total
    return 0
