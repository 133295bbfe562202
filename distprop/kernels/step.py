"""The bookkeeping of a step: what a minibatch weighs, whether its numbers are finite, what has been done so far.

Shapes: B samples of the minibatch. clock (4,) int64 is indexed by EPOCH, STEP, FIRST, DONE.
"""

import numpy as np

from distprop.kernels.jit import kernel
from distprop.kernels.norms import ordered_sum

EPOCH, STEP, FIRST, DONE = range(4)  # FIRST: the minibatch's first place in the epoch; DONE: steps of this run
CLOCK = 4

NOT_FINITE = 1  # returned by a kernel: nothing can be learned from such numbers


@kernel
def start_weights(weights):
    """weights = 1."""
    weights[:] = 1


@kernel
def set_scale(scale, total, weights):
    """total[0] = sum of weights (B,), float64; scale[0] = 1 / total, the scale of the gradient."""
    total[0] = ordered_sum(weights)
    scale[0] = 1 / total[0] if total[0] > 0 else 0.0


@kernel
def set_rate(rate, rates, clock):
    """rate[0] = the learning rate of this step."""
    rate[0] = rates[clock[DONE]]


@kernel
def check_finite(norm, blocks, totals):
    """norm[0] = the Euclidean norm of a gradient, from the sums of squares of its blocks.

    Returns NOT_FINITE unless it and the loss totals[0] are finite.
    """
    norm[0] = np.sqrt(ordered_sum(blocks))
    return 0 if np.isfinite(norm[0]) and np.isfinite(totals[0]) else NOT_FINITE


@kernel
def finish_step(sums, clock, totals, weight, samples):
    """sums (3,) += [loss, correct, weight] of the minibatch; the clock goes on by a step of so many samples."""
    sums[0] += totals[0]
    sums[1] += totals[1]
    sums[2] += weight[0]
    clock[STEP] += 1
    clock[DONE] += 1
    clock[FIRST] += samples


@kernel
def copy_words(copies, words):
    """copies = words, both (size, W) int64: before the others may change them."""
    for rank in range(words.shape[0]):
        for word in range(words.shape[1]):
            copies[rank, word] = words[rank, word]


@kernel
def copy_losses(sums, losses):
    """sums (N,) float64 = losses (N,)."""
    for n in range(losses.size):
        sums[n] = losses[n]
