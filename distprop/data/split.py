"""Cutting the rows of one source into training and validation rows, and the prepared parts on disk.

Shapes: R rows; F features of a row, in one axis or more; K target values.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """One part of prepared data: memory-mapped arrays in a folder, and which of their rows belong to it.

    `row_list`: the name of the file of row numbers; None: all rows are meant.
    """

    folder: Path
    row_list: str | None = None

    @property
    def features(self) -> npt.NDArray[Any]:
        """(R, ...) uint8, float32 or float64."""
        return cast(npt.NDArray[Any], np.load(self.folder / "features.npy", mmap_mode="r"))

    @property
    def labels(self) -> npt.NDArray[np.int32] | None:
        """(R,) numbers of classes, for classification."""
        return self._optional("labels.npy")

    @property
    def targets(self) -> npt.NDArray[Any] | None:
        """(R, K) values, for regression."""
        return self._optional("targets.npy")

    @property
    def weights(self) -> npt.NDArray[Any] | None:
        """(R,) weights of the samples."""
        return self._optional("weights.npy")

    @property
    def rows(self) -> Indices | None:
        """(samples,) sorted numbers of this part's rows; None: all."""
        return None if self.row_list is None else self._optional(self.row_list)

    def __len__(self) -> int:
        rows = self.rows
        return len(self.features) if rows is None else len(rows)

    def _optional(self, name: str) -> npt.NDArray[Any] | None:
        path = self.folder / name
        return cast(npt.NDArray[Any], np.load(path, mmap_mode="r")) if path.exists() else None


def choose_validation(
    count: int, fraction: float, seed: int, labels: npt.NDArray[np.int32] | None = None
) -> tuple[Indices, Indices]:
    """Sorted rows for training and for validation, of `count` rows in all.

    round(fraction * count) rows, at least one and not all, go to validation: those with the smallest keys, the raw
    output of Philox. With labels, each class gives its share, by largest remainders, and keeps a row for training.
    """
    keys = np.random.Philox(key=seed).random_raw(count)
    wanted = min(max(1, round(fraction * count)), count - 1)
    if labels is None:
        chosen = np.argsort(keys, kind="stable")[:wanted]
    else:
        quotas = _quotas(np.bincount(labels).tolist(), wanted)
        members = (np.flatnonzero(labels == label) for label in range(len(quotas)))
        parts = [
            rows[np.argsort(keys[rows], kind="stable")[:quota]] for rows, quota in zip(members, quotas, strict=True)
        ]
        chosen = np.concatenate(parts)
    held_out = np.zeros(count, bool)
    held_out[chosen] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _quotas(counts: list[int], wanted: int) -> list[int]:
    """How many rows each class gives, in integers only: shares rounded down, the rest by largest remainders."""
    total = sum(counts)
    quotas = [wanted * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda label: (-(wanted * counts[label] % total), label))
    for label in by_remainder:
        if sum(quotas) == wanted:
            break
        if quotas[label] + 1 < counts[label]:
            quotas[label] += 1
    return quotas
