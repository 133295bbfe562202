"""Arrays that share their rows, read as the columns of one table: one file an array, or the arrays of a .npz file."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distprop.config.data import Arrays
from distprop.data.array_streams import ArrayStream, open_array, open_npz, row_bytes
from distprop.data.encoding import label_text
from distprop.data.source import CHUNK_BYTES, Array, Chunk, Kind, Texts
from distprop.errors import DataError


class ArrayTable:
    """Columns from arrays: one axis of numbers is a "number", one of strings is "text", more axes are an "array"."""

    def __init__(self, path: Path, streams: dict[str, ArrayStream]):
        self.path = path
        self._streams = streams

    @property
    def columns(self) -> dict[str, Kind]:
        return {name: _kind(stream) for name, stream in self._streams.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: stream.shape[1:] for name, stream in self._streams.items()}

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        return {name: stream.dtype for name, stream in self._streams.items()}

    def chunks(self, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[Chunk]:
        used = {name: self._streams[name] for name in (*numbers, *texts)}
        _check_rows(used)
        rows = max(1, CHUNK_BYTES // max(1, sum(row_bytes(stream) for stream in used.values())))
        for blocks in zip(*(stream.blocks(rows) for stream in used.values()), strict=True):
            named = dict(zip(used, blocks, strict=True))
            yield Chunk(
                rows=len(blocks[0]),
                numbers={name: self._numbers(name, named[name]) for name in numbers},
                texts={name: self._texts(name, named[name]) for name in texts},
            )

    def column_title(self, column: str) -> str:
        return self._streams[column].name

    def place(self, row: int, column: str) -> str:
        return f"{self._streams[column].name}, row {row} (counted from 0)"

    def _numbers(self, name: str, block: Array) -> Array:
        if block.dtype.kind in "US":
            raise DataError(f"{self._streams[name].name}: text where numbers are needed")
        return block

    def _texts(self, name: str, block: Array) -> Texts:
        if math.prod(block.shape[1:]) != 1:
            raise DataError(
                f"{self._streams[name].name}: shape {self._streams[name].shape} holds more than one label a row; "
                "labels have one axis"
            )
        values, codes = np.unique(block.reshape(-1), return_inverse=True)
        codes = codes.reshape(-1).astype(np.int64)
        if values.dtype.kind == "f" and np.isnan(values[-1]):
            codes[codes == len(values) - 1] = -1
        return Texts(codes, [label_text(value) for value in values.tolist()])


def _kind(stream: ArrayStream) -> Kind:
    if len(stream.shape) > 1:
        return "array"
    return "text" if stream.dtype.kind in "US" else "number"


def _check_rows(streams: dict[str, ArrayStream]) -> None:
    first = next(iter(streams.values()))
    for stream in streams.values():
        if stream.rows != first.rows:
            raise DataError(f"{stream.name} has {stream.rows} rows, but {first.name} has {first.rows}")


def open_arrays(arrays: Arrays) -> ArrayTable:
    """The files as columns "features", "target" and "weight". Raises DataError."""
    paths = {"features": arrays.features, "target": arrays.targets, "weight": arrays.weights}
    streams = {name: open_array(Path(path)) for name, path in paths.items() if path is not None}
    _check_rows(streams)
    return ArrayTable(Path(arrays.features), streams)


def open_npz_table(path: Path) -> ArrayTable:
    """The arrays of a .npz file as columns. Raises DataError."""
    return ArrayTable(path, open_npz(path))


def open_features(path: Path) -> ArrayTable:
    """One array as the column "features", for a prediction. Raises DataError."""
    return ArrayTable(path, {"features": open_array(path)})
