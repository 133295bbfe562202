"""Turning the rows of a source into arrays of features, labels or targets, and weights, as an encoding says.

Shapes: R rows of a chunk; F features.
"""

import itertools
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distprop.config.run import DataType
from distprop.data.array_file import ArrayWriter
from distprop.data.encoding import Column, Encoding, Labels
from distprop.data.source import Array, Chunk, Source, Texts, quoted, require_columns, shown
from distprop.errors import DataError


class Encoder:
    """Encodes the chunks of one source in order. `keep_missing`: missing numbers stay NaN instead of being an error."""

    def __init__(
        self, source: Source, encoding: Encoding, dtype: DataType, need_targets: bool = True, keep_missing: bool = False
    ):
        self._source = source
        self._encoding = encoding
        self._dtype = np.dtype(dtype)
        self._keep_missing = keep_missing
        target = encoding.target
        self._targets: tuple[str, ...] = target.names if need_targets else ()
        self._weight = encoding.weight if need_targets and encoding.weight in source.columns else None
        self._row = 0
        self._check_columns()

    def write(self, folder: Path) -> int:
        """Write features.npy, labels.npy or targets.npy, and weights.npy into the folder; return the number of rows."""
        target = self._encoding.target
        with ExitStack() as files:

            def writer(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> ArrayWriter:
                return files.enter_context(ArrayWriter(folder / f"{name}.npy", shape, dtype))

            features = writer("features", self._encoding.shape, self._features_dtype())
            labels = writer("labels", (), np.int32) if self._targets and target.kind == "classes" else None
            targets = writer("targets", (target.outputs,), self._dtype) if self._targets and not labels else None
            weights = writer("weights", (), self._dtype) if self._weight else None
            for chunk in self._source.chunks(*self._wanted()):
                features.append(self._features(chunk, features.dtype))
                if labels:
                    labels.append(self._labels(target.names[0], target.classes, chunk.texts, "class"))
                if targets:
                    targets.append(self._numbers(target.names, chunk))
                if weights and self._weight:
                    weights.append(self._weights(self._weight, chunk))
                self._row += chunk.rows
        if features.rows == 0:
            raise DataError(f"{self._source.path}: there are no rows in this file")
        return features.rows

    def _wanted(self) -> tuple[list[str], list[str]]:
        numbers = [column.name for column in self._encoding.columns if column.kind != "category"]
        texts = [column.name for column in self._encoding.columns if column.kind == "category"]
        (texts if self._encoding.target.kind == "classes" else numbers).extend(self._targets)
        numbers.extend([self._weight] if self._weight else [])
        return numbers, texts

    def _check_columns(self) -> None:
        source, columns = self._source, self._encoding.columns
        require_columns(source, [*(column.name for column in columns), *self._targets])
        shapes = source.shapes
        found = shapes.get(columns[0].name, ()) if len(columns) == 1 else self._encoding.shape
        if columns[0].kind == "array" and found != self._encoding.shape:
            raise DataError(
                f"{source.path}: a sample has shape {found}, but the training data had shape {self._encoding.shape}"
            )

    def _features_dtype(self) -> np.dtype[np.generic]:
        columns = self._encoding.columns
        single = len(columns) == 1 and columns[0].kind == "array"
        if single and self._source.dtypes.get(columns[0].name) == np.uint8:
            return np.dtype(np.uint8)
        return self._dtype

    def _features(self, chunk: Chunk, dtype: np.dtype[np.generic]) -> Array:
        """(R, *shape) encoded features."""
        encoded = np.empty((chunk.rows, sum(column.width for column in self._encoding.columns)), dtype)
        parts = self._parts(encoded)
        for column, part in parts:
            if column.kind == "category":
                self._one_hot(column, chunk.texts, part)
            else:
                self._copy(column, chunk.numbers[column.name].reshape(chunk.rows, -1), part)
        # Looking at all columns together is several times faster than at each of many, and mostly there is no fault.
        if not np.isfinite(encoded).all():
            for column, part in parts:
                self._settle(column, part)
        return encoded.reshape(chunk.rows, *self._encoding.shape)

    def _parts(self, encoded: Array) -> list[tuple[Column, Array]]:
        """Each column with its part of encoded features."""
        columns = self._encoding.columns
        ends = list(itertools.accumulate(column.width for column in columns))
        return [(column, encoded[:, end - column.width : end]) for column, end in zip(columns, ends, strict=True)]

    def _one_hot(self, column: Column, texts: dict[str, Texts], part: Array) -> None:
        codes = self._labels(column.name, column.categories, texts, "category", column.fill is not None)
        part[...] = 0
        known = np.flatnonzero(codes >= 0)
        part[known, codes[known]] = 1

    def _copy(self, column: Column, values: Array, part: Array) -> None:
        if values.shape[1] != column.width:
            raise DataError(
                f"{self._source.column_title(column.name)}: {values.shape[1]} numbers a row, "
                f"but the training data had {column.width}"
            )
        with np.errstate(over="ignore"):
            part[...] = values

    def _settle(self, column: Column, part: Array) -> None:
        """Refuse infinite features; fill missing ones, leave them for later, or refuse them too."""
        self._require_finite(column.name, part)
        missing = np.isnan(part)
        if self._keep_missing or not missing.any():
            return
        if column.fill is None:
            cure = 'set missing = "mean" or a number under [data]'
            raise self._error(missing, column.name, f"the value is missing; {cure}")
        with np.errstate(over="ignore"):
            fill = np.asarray(column.fill, part.dtype)
        if not np.isfinite(fill).all():
            title = self._source.column_title(column.name)
            raise DataError(f"{title}: missing = {column.fill[0]} under [data] is too large for {self._dtype}")
        np.copyto(part, fill, where=missing)

    def _require_finite(self, name: str, values: Array) -> None:
        infinite = np.isinf(values)
        if infinite.any():
            raise self._error(infinite, name, f"the value is infinite, or too large for {self._dtype}")

    def _cast(self, name: str, values: Array, part: Array, noun: str) -> None:
        """Copy into an array of the final dtype. Neither missing nor infinite values are allowed."""
        with np.errstate(over="ignore"):
            part[...] = values
        self._require_finite(name, part)
        missing = np.isnan(part)
        if missing.any():
            raise self._error(missing, name, f"{noun} is missing; remove the row")

    def _labels(
        self, name: str, classes: Sequence[str], texts: dict[str, Texts], noun: str, may_miss: bool = False
    ) -> npt.NDArray[np.int32]:
        column = texts[name]
        table = np.array([*Labels(tuple(classes)).codes(column.values), -1], np.int32)
        codes = table[column.codes]
        unknown = (codes < 0) & (column.codes >= 0)
        if unknown.any():
            value = column.values[column.codes[int(np.argmax(unknown))]]
            raise self._error(
                unknown, name, f'{noun} "{shown(value)}" was not in the training data (known: {quoted(classes)})'
            )
        if not may_miss and (codes < 0).any():
            raise self._error(codes < 0, name, f"the {noun} is missing; {_cure_missing(noun)}")
        return codes

    def _numbers(self, names: Iterable[str], chunk: Chunk) -> Array:
        columns = [chunk.numbers[name].reshape(chunk.rows, -1) for name in names]
        encoded = np.empty((chunk.rows, sum(values.shape[1] for values in columns)), self._dtype)
        if encoded.shape[1] != self._encoding.target.outputs:
            raise DataError(
                f"{self._source.path}: {encoded.shape[1]} target values a row, "
                f"but the training data had {self._encoding.target.outputs}"
            )
        first = 0
        for name, values in zip(names, columns, strict=True):
            part = encoded[:, first : first + values.shape[1]]
            self._cast(name, values, part, "the target")
            first += values.shape[1]
        return encoded

    def _weights(self, name: str, chunk: Chunk) -> Array:
        values = chunk.numbers[name].reshape(chunk.rows, -1)
        if values.shape[1] != 1:
            raise DataError(f"{self._source.column_title(name)}: weights are one number a row")
        weights = np.empty((chunk.rows, 1), self._dtype)
        self._cast(name, values, weights, "the weight")
        if (weights < 0).any():
            raise self._error(weights < 0, name, "a weight is negative")
        return weights.reshape(-1)

    def _error(self, faulty: Array, name: str, problem: str) -> DataError:
        """A DataError at the first row of the chunk that has a True."""
        row = int(np.argmax(faulty.reshape(len(faulty), -1).any(axis=1)))
        return DataError(f"{self._source.place(self._row + row, name)}: {problem}")


def _cure_missing(noun: str) -> str:
    if noun == "class":
        return "remove the row"
    return 'set missing = "mean" under [data] to encode it as none of the categories'
