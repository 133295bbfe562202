"""Shuffling without a list: a keyed permutation of [0, samples), computed for any place by itself.

A number is written as left * right_size + right, and eight Feistel rounds add to one half, modulo its size, a hash of
the other half and the round's key (as in Black and Rogaway, 2002). The halves' sizes are chosen so that their product
is hardly above `samples`; a result outside of [0, samples) is permuted again until it is inside ("cycle walking").
The left size is even, or only even permutations could come out. Halves below 8 mix badly: orders of 4 to 8 samples
came out unequally often (chi-square over all of them), and with halves of 8 they don't.
"""

import numpy as np

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.random import SHUFFLE, random_words

_SMALLEST_HALF = 8
_ONE, _BITS_32, _LOW_32 = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)
_MULTIPLIER_0 = np.uint64(0x9E3779B97F4A7C15)  # odd, of no structure: 2^64 / golden ratio
_MULTIPLIER_1 = np.uint64(0xD6E8FEB86659FD93)


@inlined
def _below(value, key, size):
    """A hash of value and key, in [0, size); size < 2^32."""
    hashed = (value ^ key) * _MULTIPLIER_0
    hashed = (hashed ^ (hashed >> _BITS_32)) * _MULTIPLIER_1
    return ((hashed >> _BITS_32) * size) >> _BITS_32


@inlined
def _round_keys(seed, epoch, pair):
    """Two 64-bit keys of the rounds 2 pair and 2 pair + 1."""
    w0, w1, w2, w3 = random_words(seed, SHUFFLE, 0, epoch, pair, 0)
    return (w0 << _BITS_32) | w1, (w2 << _BITS_32) | w3


@inlined
def permutation_keys(seed, epoch):
    """The keys of the eight rounds of an epoch's permutation."""
    k0, k1 = _round_keys(seed, epoch, 0)
    k2, k3 = _round_keys(seed, epoch, 1)
    k4, k5 = _round_keys(seed, epoch, 2)
    k6, k7 = _round_keys(seed, epoch, 3)
    return k0, k1, k2, k3, k4, k5, k6, k7


@inlined
def permutation_sizes(samples):
    """Sizes of the two halves: about the square root of `samples`, the left one even, their product >= samples."""
    root = np.int64(np.sqrt(np.float64(samples)))
    left = max(root + root % 2, _SMALLEST_HALF)
    right = max((samples + left - 1) // left, _SMALLEST_HALF)
    return np.uint64(left), np.uint64(right)


@inlined
def _two_rounds(left, right, key_left, key_right, left_size, right_size):
    left += _below(right, key_left, left_size)
    left -= left_size if left >= left_size else np.uint64(0)
    right += _below(left, key_right, right_size)
    right -= right_size if right >= right_size else np.uint64(0)
    return left, right


@inlined
def _rounds(left, right, left_size, right_size, keys):
    left, right = _two_rounds(left, right, keys[0], keys[1], left_size, right_size)
    left, right = _two_rounds(left, right, keys[2], keys[3], left_size, right_size)
    left, right = _two_rounds(left, right, keys[4], keys[5], left_size, right_size)
    return _two_rounds(left, right, keys[6], keys[7], left_size, right_size)


@inlined
def permuted(index, samples, sizes, keys):
    """Where the permutation of [0, samples) takes index; sizes and keys as made by the functions above."""
    left_size, right_size = sizes
    place = np.uint64(index)
    while True:
        left = place // right_size
        right = place - left * right_size
        left, right = _rounds(left, right, left_size, right_size, keys)
        place = left * right_size + right
        if place < np.uint64(samples):
            return np.int64(place)


@inlined
def _write_halves(places, start, right_size):
    """places[i] = left 2^32 + right, where left * right_size + right is start + i."""
    left, right = np.uint64(start) // right_size, np.uint64(start) % right_size
    for i in range(places.shape[0]):
        places[i] = np.int64((left << _BITS_32) | right)
        right += _ONE
        if right == right_size:
            left, right = left + _ONE, np.uint64(0)


@kernel
def minibatch_indices(indices, start, samples, seed, epoch):
    """indices[i] = permutation(start + i) of the epoch: the samples at places start, start + 1, ... of the shuffle.

    indices (B,) int64; 0 <= start, start + B <= samples; 1 <= samples <= 2^40; 0 <= seed < 2^63; 0 <= epoch < 2^48.
    """
    left_size, right_size = sizes = permutation_sizes(samples)
    keys = permutation_keys(seed, epoch)
    _write_halves(indices, start, right_size)
    for i in range(indices.shape[0]):  # without a jump, so that it becomes vector code
        left, right = np.uint64(indices[i]) >> _BITS_32, np.uint64(indices[i]) & _LOW_32
        left, right = _rounds(left, right, left_size, right_size, keys)
        indices[i] = np.int64(left * right_size + right)
    for i in range(indices.shape[0]):
        if indices[i] >= samples:
            indices[i] = permuted(indices[i], samples, sizes, keys)


@kernel
def sequential_indices(indices, start):
    """indices[i] = start + i: the order without a shuffle. indices (B,) int64."""
    for i in range(indices.shape[0]):
        indices[i] = start + i
