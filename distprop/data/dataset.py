"""The arrays that training reads: memory-mapped ones that were prepared, or checked ones from memory.

Shapes: R rows; N samples (R, or the length of `rows`); K target values.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.config.run import DataType
from distprop.data.encoding import Column, Encoding, Statistics, Target, ordered_labels
from distprop.data.source import Array, quoted
from distprop.data.split import Split
from distprop.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """N samples: `features` (R, ...), `labels` (R,) int32 or `targets` (R, K), `weights` (R,), all C-contiguous.

    `rows`: (N,) which of the R rows are samples of this set; None: all. uint8 features are as they were in the file.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int32] | None = None
    targets: npt.NDArray[Any] | None = None
    weights: npt.NDArray[Any] | None = None
    rows: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample's features."""
        return self.features.shape[1:]

    @classmethod
    def open(cls, split: Split) -> "Dataset":
        """Map the arrays of a prepared part; nothing is read yet."""
        return cls(split.features, split.labels, split.targets, split.weights, split.rows)
