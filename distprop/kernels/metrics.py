"""Sums from which metrics follow, added up row by row in float64: no mean is ever averaged again.

Shapes: N rows, C classes, O outputs. Sums are added to, so that they run through all blocks of a shard.
"""

import numpy as np

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.losses import softmax_rows
from distprop.kernels.views import row

__all__ = ["binary_sums", "classification_sums", "correct_weights", "regression_sums", "softmax_rows"]


@inlined
def _first_maximum(logits):
    """Index of the largest number, the first of equals; a NaN counts as largest, as in NumPy."""
    best = 0
    for c in range(1, logits.size):
        if logits[c] > logits[best] or (logits[c] != logits[c] and logits[best] == logits[best]):
            best = c
    return best


@inlined
def _rank(logits, label):
    """How many classes come before the label: those with a larger logit, or an equal one and a lower index."""
    rank = 0
    for c in range(logits.size):
        if not (
            logits[c] < logits[label] or (logits[c] == logits[label] and c >= label)
        ):  # a NaN comes before everything
            rank += 1
    return rank


@inlined
def _is_correct(logits, label):
    """Whether _first_maximum is the label, found without jumps; of a single logit, whether its sign says so."""
    if logits.size > 1:
        return _rank(logits, label) == 0
    return logits[0] > 0 if label == 1 else logits[0] <= 0


@kernel
def correct_weights(out, z, labels, weights):
    """out[n] = weights[n] where row n of z (N, C), or the sign of z (N, 1), predicts labels[n], else 0. out (N,)."""
    for n in range(z.shape[0]):
        out[n] = weights[n] if _is_correct(row(z, n), labels[n]) else 0.0


@kernel
def classification_sums(sums, confusion, z, labels, weights, k):
    """sums (3,) += [w, w where predicted == label, w where the label is among the k largest logits].

    confusion (C, C) int64: [label, predicted] += 1. z (N, C) logits, labels (N,) int32, weights (N,).
    Predicted is the largest logit's class, the lowest of equals. A row with NaN is never correct.
    """
    for n in range(z.shape[0]):
        logits, label, weight = row(z, n), labels[n], np.float64(weights[n])
        predicted = _first_maximum(logits)
        known = logits[predicted] == logits[predicted]
        sums[0] += weight
        sums[1] += weight if known and predicted == label else 0.0
        sums[2] += weight if known and _rank(logits, label) < k else 0.0
        confusion[label, predicted] += 1


@kernel
def binary_sums(sums, confusion, z, labels, weights, k):
    """The same sums as classification_sums for one logit a row, z (N, 1): class 1 is predicted where z > 0.

    With two classes every label is among the two largest, so sums[2] is sums[0] for k >= 2.
    """
    for n in range(z.shape[0]):
        logit, label, weight = z[n, 0], labels[n], np.float64(weights[n])
        predicted = 1 if logit > 0 else 0
        known = logit == logit
        sums[0] += weight
        sums[1] += weight if known and predicted == label else 0.0
        sums[2] += weight if known and (predicted == label or k >= 2) else 0.0
        confusion[label, predicted] += 1


@kernel
def regression_sums(sums, z, targets, weights, shift):
    """sums (O, 5) += w [1, t - c, (t - c)^2, |z - t|, (z - t)^2] for each output, with c = shift (O,) float64.

    With W, S, Q, A, E the five sums of an output: MAE = A / W, mean squared error = E / W, R^2 = 1 - E / (Q - S^2 / W).
    A shift near the targets' mean keeps that difference accurate. A NaN prediction makes A and E NaN, not the others.
    """
    for n in range(z.shape[0]):
        weight = np.float64(weights[n])
        for o in range(z.shape[1]):
            target = np.float64(targets[n, o])
            deviation, error = target - shift[o], np.float64(z[n, o]) - target
            sums[o, 0] += weight
            sums[o, 1] += weight * deviation
            sums[o, 2] += weight * (deviation * deviation)
            sums[o, 3] += weight * abs(error)
            sums[o, 4] += weight * (error * error)
