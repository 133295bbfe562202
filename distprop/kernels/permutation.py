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
KEYS = 11  # what is known of an epoch's permutation: the epoch + 1, the sizes of the halves, the keys of the rounds
_ONE, _BITS_32, _LOW_32 = np.uint64(1), np.uint64(32), np.uint64(0xFFFFFFFF)
_MULTIPLIER_0 = np.uint64(0x9E3779B97F4A7C15)  # odd, of no structure: 2^64 / golden ratio
_MULTIPLIER_1 = np.uint64(0xD6E8FEB86659FD93)


@inlined
def _below(value, key, size):
    """A hash of value and key, in [0, size); value, size < 2^32.

    It is that of value ^ key, whose upper half is the key's; LLVM can see so that some products are of 32 bits.
    """
    hashed = ((value ^ key) & _LOW_32) * _MULTIPLIER_0 + (key & ~_LOW_32) * _MULTIPLIER_0
    hashed = (hashed ^ (hashed >> _BITS_32)) * _MULTIPLIER_1
    return ((hashed >> _BITS_32) * (size & _LOW_32)) >> _BITS_32


@inlined
def _round_keys(seed, epoch, pair):
    """Two 64-bit keys of the rounds 2 pair and 2 pair + 1."""
    w0, w1, w2, w3 = random_words(seed, SHUFFLE, 0, epoch, pair, 0)
    return (w0 << _BITS_32) | w1, (w2 << _BITS_32) | w3


@inlined
def _sizes(samples):
    """Sizes of the two halves: about the square root of `samples`, the left one even, their product >= samples."""
    root = np.int64(np.sqrt(np.float64(samples)))
    left = max(root + root % 2, _SMALLEST_HALF)
    right = max((samples + left - 1) // left, _SMALLEST_HALF)
    return np.uint64(left), np.uint64(right)


@inlined
def _find_keys(keys, samples, seed, epoch):
    """keys (KEYS,) uint64 = what is known of the permutation of so many samples in this epoch."""
    keys[0] = np.uint64(epoch) + _ONE
    keys[1], keys[2] = _sizes(samples)
    for pair in range(4):
        keys[3 + 2 * pair], keys[4 + 2 * pair] = _round_keys(seed, epoch, pair)


@inlined
def _two_rounds(left, right, key_left, key_right, left_size, right_size):
    left = _wrapped(left + _below(right, key_left, left_size), left_size)
    right = _wrapped(right + _below(left, key_right, right_size), right_size)
    return left, right


@inlined
def _wrapped(value, size):
    """value, or value - size if it isn't below size; compared as signed numbers, which vector units can do."""
    return value - (size if np.int64(value) >= np.int64(size) else np.uint64(0))


@inlined
def _permuted(index, samples, keys):
    """Where the permutation of [0, samples) takes index."""
    left_size, right_size = keys[1], keys[2]
    place = np.uint64(index)
    while True:
        left = place // right_size
        right = place - left * right_size
        for pair in range(4):
            key_left, key_right = keys[3 + 2 * pair], keys[4 + 2 * pair]
            left, right = _two_rounds(left, right, key_left, key_right, left_size, right_size)
        place = left * right_size + right
        if place < np.uint64(samples):
            return np.int64(place)


@inlined
def _write_halves(places, start, right_size):
    """places[i] = left 2^32 + right, where left * right_size + right is start + i."""
    left, right = np.uint64(start) // right_size, np.uint64(start) % right_size
    for i in range(places.shape[0]):
        places[i] = _packed(left, right)
        right += _ONE
        if right == right_size:
            left, right = left + _ONE, np.uint64(0)


@inlined
def _packed(left, right):
    return np.int64((left << _BITS_32) | right)


@inlined
def _halves(packed):
    return np.uint64(packed) >> _BITS_32, np.uint64(packed) & _LOW_32


@kernel
def minibatch_indices(indices, keys, start, samples, seed, epoch):
    """indices[i] = permutation(start + i) of the epoch: the samples at places start, start + 1, ... of the shuffle.

    indices (B,) int64; 0 <= start, start + B <= samples; 1 <= samples <= 2^40; 0 <= seed < 2^63; 0 <= epoch < 2^48.
    keys (KEYS,) uint64: zeros at first, then those of the last call with the same samples and seed.
    """
    if keys[0] != np.uint64(epoch) + _ONE:
        _find_keys(keys, samples, seed, epoch)
    left_size, right_size = keys[1], keys[2]
    _write_halves(indices, start, right_size)
    for pair in range(4):  # of all samples: those of one would wait for each other
        key_left, key_right = keys[3 + 2 * pair], keys[4 + 2 * pair]
        for i in range(indices.shape[0]):  # without a jump, so that it becomes vector code
            left, right = _halves(indices[i])
            indices[i] = _packed(*_two_rounds(left, right, key_left, key_right, left_size, right_size))
    for i in range(indices.shape[0]):
        left, right = _halves(indices[i])
        indices[i] = np.int64(left * right_size + right)
    for i in range(indices.shape[0]):
        if indices[i] >= samples:
            indices[i] = _permuted(indices[i], samples, keys)


@kernel
def sequential_indices(indices, start):
    """indices[i] = start + i: the order without a shuffle. indices (B,) int64."""
    for i in range(indices.shape[0]):
        indices[i] = start + i
