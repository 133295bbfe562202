"""Files that are written completely or not at all: .npy arrays that grow row by row, checksums, syncing."""

import hashlib
import os
from pathlib import Path
from types import TracebackType

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
        self._file.write(np.ascontiguousarray(block, self.dtype).data)

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


def sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
