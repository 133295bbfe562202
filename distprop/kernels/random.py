"""Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011).

A block of four 32-bit words is a function of a key and a counter, so a number depends on what it is for, never on who
draws it or how many were drawn before. The key is the seed: k0 its low, k1 its high 32 bits. The one counter layout is

    c0   bits  0..31  index, low 32 bits      sample of the data set, block of elements, round of the shuffle
    c1   bits  0..7   index, high 8 bits
         bits  8..31  block                   which block of that index: of units, or the attempt
    c2   bits  0..31  time, low 32 bits       step or epoch
    c3   bits  0..15  time, high 16 bits
         bits 16..27  layer
         bits 28..31  purpose

so no two uses share a counter while index < 2^40, block < 2^24, time < 2^48, layer < 2^12 and purpose < 2^4.
Every word is kept in a uint64, where LLVM finds the 32 by 32 bit product that vector units have.
"""

import numpy as np

from distprop.kernels.jit import inlined, kernel

INITIALIZE = 0
SHUFFLE = 1
DROPOUT = 2

# Of every constant the type is given: Numba turns a uint64 and a signed integer into a float64.
_LOW = np.uint64(0xFFFFFFFF)
_BITS_32 = np.uint64(32)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)


@inlined
def philox(c0, c1, c2, c3, k0, k1):
    """Four random 32-bit words of a counter and a key; all arguments and results are uint64 below 2^32."""
    for _ in range(10):
        product_0 = _MULTIPLIER_0 * c0
        product_1 = _MULTIPLIER_1 * c2
        c0 = (product_1 >> _BITS_32) ^ c1 ^ k0
        c2 = (product_0 >> _BITS_32) ^ c3 ^ k1
        c1 = product_1 & _LOW
        c3 = product_0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@inlined
def random_words(seed, purpose, layer, time, index, block):
    """Four random 32-bit words (as uint64) of a use; the integers are within the limits of the layout above."""
    seed, time, index = np.uint64(seed), np.uint64(time), np.uint64(index)
    c0 = index & _LOW
    c1 = (index >> _BITS_32) | (np.uint64(block) << np.uint64(8))
    c2 = time & _LOW
    c3 = (time >> _BITS_32) | (np.uint64(layer) << np.uint64(16)) | (np.uint64(purpose) << np.uint64(28))
    return philox(c0, c1, c2, c3, seed & _LOW, seed >> _BITS_32)


@inlined
def uniform32(word):
    """A float32 in [0, 1), a multiple of 2^-24, from a 32-bit word."""
    return np.float32(np.int32(word >> np.uint64(8))) * np.float32(2.0**-24)


@inlined
def uniform64(high, low):
    """A float64 in [0, 1), a multiple of 2^-53, from two 32-bit words."""
    bits = ((high >> np.uint64(5)) << np.uint64(26)) | (low >> np.uint64(6))
    return np.float64(np.int64(bits)) * 2.0**-53


@kernel
def philox_words(words, counters, keys):
    """words[n] = philox(counters[n], keys[n]). words, counters (N, 4) and keys (N, 2): uint64 below 2^32."""
    for n in range(words.shape[0]):
        w = philox(counters[n, 0], counters[n, 1], counters[n, 2], counters[n, 3], keys[n, 0], keys[n, 1])
        words[n, 0], words[n, 1], words[n, 2], words[n, 3] = w
