"""The arrays that training reads: memory-mapped ones that were prepared, or checked ones from memory.

Shapes: R rows; N samples (R, or the length of `rows`); K target values.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from distprop.config.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from distprop.config.run import DataType
from distprop.data.blocks import ArrayBlocks
from distprop.data.encoding import Column, Encoding, Labels, Statistics, Target, label_text, ordered_labels
from distprop.data.source import Array, quoted
from distprop.data.split import Split
from distprop.data.statistics import describe
from distprop.errors import DataError

TargetKind = Literal["classes", "values"]


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

    @property
    def matrix(self) -> Array:
        """The features with one axis a sample, (R, F): a view."""
        matrix: Array = self.features.reshape(len(self.features), -1)
        return matrix

    @classmethod
    def open(cls, split: Split) -> "Dataset":
        """Map the arrays of a prepared part; nothing is read yet."""
        return cls(split.features, split.labels, split.targets, split.weights, split.rows)

    @classmethod
    def from_arrays(
        cls,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        kind: TargetKind | None = None,
        dtype: DataType = "float32",
        encoding: Encoding | None = None,
    ) -> tuple["Dataset", Encoding]:
        """Check arrays and make a data set and its encoding of them.

        `x`: (N, ...) numbers; uint8 stays, all else becomes `dtype`. `y`: (N,) labels of any kind, or (N,) or (N, K)
        values. `weights`: (N,), at least 0. `kind`: what y holds, by default values if they are floating-point numbers.
        `encoding`: that of the training data, when these are data to validate or evaluate on.
        Raises DataError, which names the array and the row.

        >>> data, encoding = Dataset.from_arrays([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], ["no", "yes", "no"])
        >>> len(data), data.labels.tolist(), encoding.target.classes
        (3, [0, 1, 0], ('no', 'yes'))
        """
        features, given = features_from(x, dtype), _array("y", y)
        if not len(features):
            raise DataError(f"x: shape {features.shape} is empty")
        _check_length("y", given, features)
        if encoding is None:
            encoding = _encoding(features, given, kind)
        elif features.shape[1:] != encoding.shape:
            raise DataError(f"x: a sample has shape {features.shape[1:]}, the training data had {encoding.shape}")
        labels, targets = None, None
        if encoding.target.kind == "classes":
            labels = _labels(given, encoding.target)
        else:
            targets = _targets(given, encoding.target, dtype)
        dataset = cls(features, labels, targets, None if weights is None else _weights(weights, features, dtype))
        if encoding.statistics is None:
            encoding = dataclasses.replace(encoding, statistics=dataset._statistics(encoding.target))
        return dataset, encoding

    def _statistics(self, target: Target) -> Statistics:
        labels, targets = (None if array is None else ArrayBlocks(array) for array in (self.labels, self.targets))
        return describe(ArrayBlocks(self.features), labels, targets, target)


def target_kind(y: npt.ArrayLike, loss: Loss) -> TargetKind:
    """What targets in memory are if nobody says so: what the loss takes, as far as y can be that.

    >>> target_kind([0.0, 1.0], SoftmaxCrossEntropy()), target_kind([0.0, 0.5], BinaryCrossEntropy())
    ('classes', 'values')
    """
    given = _array("y", y)
    if given.dtype.kind not in "iuf":
        return "classes"
    if isinstance(loss, BinaryCrossEntropy):
        return "classes" if given.dtype.kind != "f" or (given == np.floor(given)).all() else "values"
    return "classes" if isinstance(loss, SoftmaxCrossEntropy) else "values"


def features_from(x: npt.ArrayLike, dtype: DataType) -> Array:
    """Features in memory as the kernels take them: uint8 or `dtype`, C-contiguous, finite. Raises DataError."""
    given = _numbers("x", x)
    if given.ndim < 2:
        raise DataError(f"x: shape {given.shape}; needed are two axes or more: samples, features")
    if 0 in given.shape[1:]:
        raise DataError(f"x: shape {given.shape} is empty")
    return _finite("x", given, np.dtype(np.uint8) if given.dtype == np.uint8 else np.dtype(dtype))


def _encoding(features: Array, y: Array, kind: TargetKind | None) -> Encoding:
    kind = kind or ("values" if y.dtype.kind == "f" else "classes")
    if kind == "classes":
        found = ordered_labels({label_text(value) for value in np.unique(_one_axis(y)).tolist()})
        if len(found) < 2:
            raise DataError(f"y: all samples are of one class ({quoted(found)}); at least two are needed")
        target = Target(("target",), "classes", found, len(found))
    else:
        target = Target(("target",), "values", (), math.prod(y.shape[1:]))
    shape = features.shape[1:]
    return Encoding((Column("features", "array", math.prod(shape)),), shape, target)


def _one_axis(y: Array) -> Array:
    if y.dtype.kind not in "biufUS":
        raise DataError(f"y: labels of type {y.dtype} can't be used; give numbers, booleans or text")
    if y.ndim == 0 or math.prod(y.shape[1:]) != 1:
        raise DataError(f"y: shape {y.shape}, but labels have one axis, one label a sample")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"y, row {_first(~np.isfinite(y))}: the label is not finite")
    return y.reshape(-1)


def _labels(y: Array, target: Target) -> npt.NDArray[np.int32]:
    values, inverse = np.unique(_one_axis(y), return_inverse=True)
    codes = np.array(Labels(target.classes).codes([label_text(value) for value in values.tolist()]), np.int32)
    labels = codes[inverse.reshape(-1)]
    if (labels < 0).any():
        row = _first(labels < 0)
        raise DataError(
            f'y, row {row}: class "{label_text(y.reshape(-1)[row].item())}" was not in the training data '
            f"(known: {quoted(target.classes)})"
        )
    return labels


def _targets(y: Array, target: Target, dtype: DataType) -> Array:
    values = _finite("y", _numbers("y", y), np.dtype(dtype)).reshape(len(y), -1)
    if values.shape[1] != target.outputs:
        raise DataError(f"y: {values.shape[1]} values a sample, the training data had {target.outputs}")
    return values


def _weights(weights: npt.ArrayLike, features: Array, dtype: DataType) -> Array:
    given = _numbers("weights", weights)
    _check_length("weights", given, features)
    if given.ndim != 1:
        raise DataError(f"weights: shape {given.shape}; needed is one axis, one weight a sample")
    if (given < 0).any():
        raise DataError(f"weights, row {_first(given < 0)}: a weight is negative")
    checked = _finite("weights", given, np.dtype(dtype))
    if not checked.any():
        raise DataError("weights: all weights are 0")
    return checked


def _numbers(name: str, values: npt.ArrayLike) -> Array:
    array = _array(name, values)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name}: elements of type {array.dtype} are no real numbers")
    return array


def _array(name: str, values: npt.ArrayLike) -> Array:
    """An array of what was given. Columns of text and of mixed tables come as Python objects: of one type, they do."""
    if np.ma.is_masked(values):  # asarray would take what lies under the mask
        raise DataError(f"{name}: some elements are masked; fill or remove missing values first")
    try:
        array = np.asarray(values)
    except ValueError:
        raise DataError(f"{name}: the rows are not of one length") from None
    of_one_type = array.dtype == object and len({type(element) for element in array.flat}) == 1
    return np.array(array.tolist()) if of_one_type else array


def _finite(name: str, values: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, dtype)
    if cast.dtype.kind == "f" and not np.isfinite(cast).all():
        row = _first(~np.isfinite(cast))
        raise DataError(
            f"{name}, row {row}: NaN, infinite or too large for {dtype}; fill or remove missing values first"
        )
    return cast


def _check_length(name: str, array: Array, features: Array) -> None:
    if array.ndim == 0:
        raise DataError(f"{name}: shape (); needed are {len(features)} rows, as x has")
    if len(array) != len(features):
        raise DataError(f"{name} has {len(array)} rows, but x has {len(features)}")


def _first(faulty: Array) -> int:
    """The first row with a True."""
    return int(np.argmax(faulty.reshape(len(faulty), -1).any(axis=1)))
