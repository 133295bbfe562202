"""Exact statistics over training rows: the order of every sum is fixed here, so no CPU, chunk or rank changes a bit.

Shapes: R rows; F features.
"""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from distprop.data.blocks import Blocks
from distprop.data.encoding import Statistics, Target
from distprop.errors import DataError

Floats = npt.NDArray[np.float64]
BLOCK_ELEMENTS = 1 << 21


def block_rows(width: int) -> int:
    """Rows of a block of a sum: 4096, less for wide samples. It depends on nothing else."""
    return max(1, min(4096, BLOCK_ELEMENTS // max(1, width)))


def tree_sum(block: Floats) -> Floats:
    """(F,) sums over the rows of (R, F): the later half is added to the earlier, until one is left. Destroys it."""
    rows = len(block)
    while rows > 1:
        half = rows // 2
        block[:half] += block[rows - half : rows]
        rows -= half
    return cast(Floats, block[0])


def mean_of_present(array: Blocks) -> tuple[Floats, npt.NDArray[np.int64]]:
    """(F,) means of the values that are not NaN, and their counts. The mean of equal values is exactly that value."""
    shift = _first_present(array)
    total, count = np.zeros(array.width), np.zeros(array.width, np.int64)
    for stored in array.blocks(block_rows(array.width)):
        block = stored.astype(np.float64) - shift
        missing = np.isnan(block)
        block[missing] = 0.0
        total += tree_sum(block)
        count += len(missing) - missing.sum(axis=0)
    return shift + total / np.maximum(count, 1), count


def describe(features: Blocks, labels: Blocks | None, targets: Blocks | None, target: Target) -> Statistics:
    """The statistics of training rows. Raises DataError if the features are so large that they have none."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = _moments_of_integers(features) if features.dtype == np.uint8 else _moments(features)
        target_mean = _moments(targets)[0] if targets else []
    if not all(math.isfinite(value) for value in (*mean, *variance, *target_mean)):
        raise DataError("the mean or the variance of the data overflows; divide the largest columns by a constant")
    array_mean = math.fsum(mean) / features.width
    array_variance = math.fsum(v + (m - array_mean) * (m - array_mean) for m, v in zip(mean, variance, strict=True))
    return Statistics(
        rows=features.count,
        mean=tuple(mean),
        deviation=tuple(math.sqrt(value) or 1.0 for value in variance),
        array_mean=array_mean,
        array_deviation=math.sqrt(array_variance / features.width) or 1.0,
        class_counts=_class_counts(labels, len(target.classes)) if labels else (),
        target_mean=tuple(target_mean),
    )


def _first_present(array: Blocks) -> Floats:
    """(F,) the first value of each feature that is not NaN, 0 if there is none."""
    first = np.full(array.width, np.nan)
    for block in array.blocks(block_rows(array.width)):
        unset = np.isnan(first)
        if not unset.any():
            break
        row = np.argmax(~np.isnan(block), axis=0)
        first[unset] = block[row, np.arange(array.width)][unset]
    return np.where(np.isnan(first), 0.0, first)


def _moments(array: Blocks) -> tuple[list[float], list[float]]:
    """Means and population variances, in two passes. Infinite or NaN if they overflow."""
    mean, _ = mean_of_present(array)
    total = np.zeros(array.width)
    for stored in array.blocks(block_rows(array.width)):
        block = stored.astype(np.float64) - mean
        total += tree_sum(block * block)
    return mean.tolist(), (total / array.count).tolist()


def _moments_of_integers(array: Blocks) -> tuple[list[float], list[float]]:
    """The same from exact sums of integers, correctly rounded."""
    total, squares = np.zeros(array.width, np.int64), np.zeros(array.width, np.int64)
    for stored in array.blocks(block_rows(array.width)):
        block = stored.astype(np.int32)
        total += block.sum(axis=0, dtype=np.int64)
        squares += (block * block).sum(axis=0, dtype=np.int64)
    n = array.count
    sums: Sequence[tuple[int, int]] = list(zip(total.tolist(), squares.tolist(), strict=True))
    return [s / n for s, _ in sums], [(n * q - s * s) / (n * n) for s, q in sums]


def _class_counts(labels: Blocks, classes: int) -> tuple[int, ...]:
    counts = np.zeros(classes, np.int64)
    for block in labels.blocks(1 << 18):
        counts += np.bincount(block.reshape(-1), minlength=classes)
    return tuple(counts.tolist())
