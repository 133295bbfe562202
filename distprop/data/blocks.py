"""Arrays read in blocks of rows, from a file or from memory, with memory that doesn't grow with the rows.

Shapes: R rows; F elements of a row.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from distprop.data.array_file import HEADER_BYTES
from distprop.data.source import Array

Rows = npt.NDArray[np.int64] | None  # sorted row numbers; None: all rows


class Blocks(Protocol):
    """`count` rows of `width` elements."""

    dtype: np.dtype[Any]
    width: int
    count: int

    def blocks(self, size: int) -> Iterator[Array]:
        """(size, F) copies of the rows in order; the last may be shorter."""
        ...


class ArrayBlocks:
    """An array in memory."""

    def __init__(self, array: Array):
        self._array = array.reshape(len(array), -1)
        self.dtype, self.count, self.width = array.dtype, *self._array.shape

    def blocks(self, size: int) -> Iterator[Array]:
        for first in range(0, self.count, size):
            yield self._array[first : first + size].copy()


class FileBlocks:
    """A file of `ArrayWriter`, or the chosen rows of it. Pages are given back after each block."""

    def __init__(self, path: Path, rows: Rows = None, write: bool = False):
        mapped = np.load(path, mmap_mode="r")
        self.dtype, self.width = mapped.dtype, math.prod(mapped.shape[1:])
        self.count = len(mapped) if rows is None else len(rows)
        self._total = len(mapped)
        self._rows = rows
        with path.open("r+b" if write else "rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)

    def blocks(self, size: int) -> Iterator[Array]:
        for first in range(0, self.count, size):
            chosen = np.s_[first : first + size] if self._rows is None else self._rows[first : first + size]
            yield np.array(self._view()[chosen])
            self._pages.madvise(mmap.MADV_DONTNEED)

    def fill_missing(self, values: npt.NDArray[np.float64], size: int) -> None:
        """Write values[f] wherever feature f is NaN, in all rows of the file."""
        for first in range(0, self._total, size):
            block = self._view()[first : first + size]
            missing = np.isnan(block)
            if missing.any():
                np.copyto(block, values.astype(self.dtype), where=missing)
            self._pages.flush()
            self._pages.madvise(mmap.MADV_DONTNEED)

    def _view(self) -> npt.NDArray[Any]:
        return np.frombuffer(self._pages, self.dtype, offset=HEADER_BYTES).reshape(-1, self.width)
