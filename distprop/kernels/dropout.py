"""Dropout: y = x * mask, with mask 0 or 1 / (1 - rate).    Shapes: N rows, U units.

A unit's mask is keyed by (seed, layer, step, sample, unit), so it depends on no rank, shard or place in the minibatch.
"""

import numpy as np

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.random import DROPOUT, random_words


@inlined
def _masked(word, threshold, scale):
    return scale if word >= threshold else scale - scale  # a zero of the same type


@inlined
def _draw_mask(mask, n, sample, step, seed, layer, threshold, scale):
    """Row n of the mask. Word w of block b is that of unit w Q + b, with Q = U / 4 rounded up.

    So neighbouring blocks have neighbouring units: LLVM computes a block in each lane and stores whole vectors.
    """
    units = mask.shape[1]
    quarter = (units + 3) // 4
    m0, m1 = mask[n, :quarter], mask[n, quarter : 2 * quarter]
    m2, m3 = mask[n, 2 * quarter : 3 * quarter], mask[n, 3 * quarter :]
    for b in range(m3.size):
        w0, w1, w2, w3 = random_words(seed, DROPOUT, layer, step, sample, b)
        m0[b] = _masked(w0, threshold, scale)
        m1[b] = _masked(w1, threshold, scale)
        m2[b] = _masked(w2, threshold, scale)
        m3[b] = _masked(w3, threshold, scale)
    for b in range(m3.size, quarter):  # at most three: blocks of which not every word has a unit
        w0, w1, w2, _ = random_words(seed, DROPOUT, layer, step, sample, b)
        m0[b] = _masked(w0, threshold, scale)
        if b < m1.size:
            m1[b] = _masked(w1, threshold, scale)
        if b < m2.size:
            m2[b] = _masked(w2, threshold, scale)


@kernel
def dropout_forward(y, mask, x, indices, clock, seed, layer, rate):
    """y = x * mask, and the mask for the backward call.

    y, mask, x (N, U); indices (N,) int64: the samples of the rows; clock (1,) int64: the step;
    layer < 2^12: the number of the dropout layer; rate in [0, 1), in steps of 2^-32.
    """
    threshold = np.uint64(rate * 4294967296.0)  # a word is below it with probability `rate`
    scale = x.dtype.type(1.0 / (1.0 - rate))
    for n in range(x.shape[0]):
        _draw_mask(mask, n, indices[n], clock[0], seed, layer, threshold, scale)
        for unit in range(x.shape[1]):
            y[n, unit] = x[n, unit] * mask[n, unit]


@kernel
def dropout_backward(dx, dy, mask):
    """dx = dy * mask, all (N, U)."""
    for n in range(dx.shape[0]):
        for unit in range(dx.shape[1]):
            dx[n, unit] = dy[n, unit] * mask[n, unit]
