""".npy files that are written row by row and read in blocks, with memory that doesn't grow with the rows."""

import hashlib
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.data.source import Array

HEADER_BYTES = 256  # fixed, so that the number of rows can be written last


class ArrayWriter:
    """Writes rows of one shape and dtype to a .npy file; closing it completes the header and syncs the file."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike):
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self._shape = shape
        self._file = path.open("wb")
        self._file.write(b"\0" * HEADER_BYTES)

    def append(self, block: Array) -> None:
        self.rows += len(block)
        self._file.write(memoryview(np.ascontiguousarray(block, self.dtype)).cast("B"))

    def __enter__(self) -> "ArrayWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._file:
            if kind is not None:
                return
            self._file.seek(0)
            self._file.write(self._header())
            self._file.flush()
            os.fsync(self._file.fileno())

    def _header(self) -> bytes:
        shape = (self.rows, *self._shape)
        text = repr({"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape})
        room = HEADER_BYTES - 10
        return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1).encode() + b"\n"


class ArrayBlocks:
    """A written .npy file as blocks of chosen rows, each a copy. Pages are given back after each block.

    Shapes: R rows, F elements a row; `rows`: sorted indices, None for all.
    """

    def __init__(self, path: Path, rows: npt.NDArray[np.int64] | None = None, write: bool = False):
        mapped = np.load(path, mmap_mode="r")
        self.dtype, self.width = mapped.dtype, math.prod(mapped.shape[1:])
        self.count = len(mapped) if rows is None else len(rows)
        self._total = len(mapped)
        self._rows = rows
        with path.open("r+b" if write else "rb") as file:
            self._pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)

    def blocks(self, size: int) -> Iterator[Array]:
        """(size, F) arrays of the file's dtype in order; the last may be shorter."""
        for first in range(0, self.count, size):
            chosen = slice(first, first + size) if self._rows is None else self._rows[first : first + size]
            yield self._view()[chosen].copy()
            self._pages.madvise(mmap.MADV_DONTNEED)

    def fill_missing(self, values: npt.NDArray[np.float64], size: int) -> None:
        """Write values[f] wherever feature f is NaN, in all rows."""
        for first in range(0, self._total, size):
            block = self._view()[first : first + size]
            missing = np.isnan(block)
            if missing.any():
                np.copyto(block, values.astype(self.dtype), where=missing)
            del block
            self._pages.flush()
            self._pages.madvise(mmap.MADV_DONTNEED)

    def _view(self) -> npt.NDArray[Any]:
        return np.frombuffer(self._pages, self.dtype, offset=HEADER_BYTES).reshape(-1, self.width)


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Make a file or folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
