"""Exact statistics over training rows: the order of every sum is fixed here, so no CPU, chunk or rank changes a bit.

Shapes: R rows; F features.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distprop.data.array_file import ArrayBlocks
from distprop.data.encoding import Statistics, Target

Rows = npt.NDArray[np.int64] | None
Floats = npt.NDArray[np.float64]
BLOCK_ELEMENTS = 1 << 21


def block_rows(width: int) -> int:
    """Rows of a block of a sum: 4096, less for wide samples. It depends on nothing else."""
    return max(1, min(4096, BLOCK_ELEMENTS // max(1, width)))


def tree_sum(block: Floats) -> Floats:
    """(F,) sums over the rows of (R, F), by adding the later half to the earlier one until one row is left. Destroys block."""
    rows = len(block)
    while rows > 1:
        half = rows // 2
        block[:half] += block[rows - half : rows]
        rows -= half
    return block[0]


def mean_of_present(array: ArrayBlocks) -> tuple[Floats, npt.NDArray[np.int64]]:
    """(F,) means of the values that are not NaN, and how many there are. The mean of equal values is exactly that value."""
    shift = _first_present(array)
    total, count = np.zeros(array.width), np.zeros(array.width, np.int64)
    for stored in array.blocks(block_rows(array.width)):
        block = stored.astype(np.float64) - shift
        missing = np.isnan(block)
        block[missing] = 0.0
        total += tree_sum(block)
        count += len(missing) - missing.sum(axis=0)
    return shift + total / np.maximum(count, 1), count


def describe(folder: Path, target: Target, rows: Rows) -> Statistics:
    """The statistics of prepared arrays over the given training rows (None: all)."""
    features = ArrayBlocks(folder / "features.npy", rows)
    mean, variance = _moments_of_integers(features) if features.dtype == np.uint8 else _moments(features)
    deviation = [math.sqrt(value) for value in variance]
    array_mean = math.fsum(mean) / features.width
    array_variance = math.fsum(v + (m - array_mean) * (m - array_mean) for m, v in zip(mean, variance, strict=True))
    classes = target.kind == "classes"
    return Statistics(
        rows=features.count,
        mean=tuple(mean),
        deviation=tuple(value or 1.0 for value in deviation),
        array_mean=array_mean,
        array_deviation=math.sqrt(array_variance / features.width) or 1.0,
        class_counts=_class_counts(folder / "labels.npy", len(target.classes), rows) if classes else (),
        target_mean=() if classes else tuple(_moments(ArrayBlocks(folder / "targets.npy", rows))[0]),
    )


def _first_present(array: ArrayBlocks) -> Floats:
    """(F,) the first value of each feature that is not NaN, 0 if there is none."""
    first = np.full(array.width, np.nan)
    for block in array.blocks(block_rows(array.width)):
        open_ = np.isnan(first)
        if not open_.any():
            break
        row = np.argmax(~np.isnan(block), axis=0)
        first[open_] = block[row, np.arange(array.width)][open_]
    return np.nan_to_num(first, nan=0.0)


def _moments(array: ArrayBlocks) -> tuple[list[float], list[float]]:
    """Means and population variances, in two passes."""
    mean, _ = mean_of_present(array)
    total = np.zeros(array.width)
    for stored in array.blocks(block_rows(array.width)):
        block = stored.astype(np.float64) - mean
        total += tree_sum(block * block)
    return mean.tolist(), (total / array.count).tolist()


def _moments_of_integers(array: ArrayBlocks) -> tuple[list[float], list[float]]:
    """The same from exact sums of integers, correctly rounded."""
    total, squares = np.zeros(array.width, np.int64), np.zeros(array.width, np.int64)
    for stored in array.blocks(block_rows(array.width)):
        block = stored.astype(np.int32)
        total += block.sum(axis=0, dtype=np.int64)
        squares += (block * block).sum(axis=0, dtype=np.int64)
    n = array.count
    sums: Sequence[tuple[int, int]] = list(zip(total.tolist(), squares.tolist(), strict=True))
    return [s / n for s, _ in sums], [(n * q - s * s) / (n * n) for s, q in sums]


def _class_counts(path: Path, classes: int, rows: Rows) -> tuple[int, ...]:
    counts = np.zeros(classes, np.int64)
    for block in ArrayBlocks(path, rows).blocks(1 << 18):
        counts += np.bincount(block.reshape(-1), minlength=classes)
    return tuple(counts.tolist())
