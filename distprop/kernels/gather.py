"""Rows of a data set brought together as a minibatch.    Shapes: N rows of the minibatch, R samples, F features.

Sources may be read-only and memory-mapped. Indices are trusted: the permutation makes none outside of the data set.
"""

from distprop.kernels.jit import kernel


@kernel
def gather_rows(rows, source, indices):
    """rows[n] = source[indices[n]], converted. rows (N, F) float; source (R, F) of numbers; indices (N,) int64."""
    for n in range(rows.shape[0]):
        sample = indices[n]
        for f in range(rows.shape[1]):
            rows[n, f] = source[sample, f]


@kernel
def gather_values(values, source, indices):
    """values[n] = source[indices[n]], converted: labels, weights, or the samples of a subset.

    values (N,); source (R,); indices (N,) int64.
    """
    for n in range(values.shape[0]):
        values[n] = source[indices[n]]


gather_labels = gather_values


@kernel
def one_hot_rows(rows, labels):
    """rows[n, c] = 1 where c is labels[n], else 0. rows (N, C) float; labels (N,) int32 in [0, C)."""
    for n in range(rows.shape[0]):
        rows[n, :] = 0
        rows[n, labels[n]] = 1
