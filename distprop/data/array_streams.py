"""Arrays in files (IDX, .npy, the members of .npz) as a shape, a dtype and a stream of rows.

The header is checked when an array is opened; the rows are read a few megabytes at a time, so that memory doesn't grow
with the file. IDX: two zero bytes, a type, a number of axes, their lengths, big-endian; then the elements.
"""

import dataclasses
import gzip
import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from distprop.data.source import CHUNK_BYTES, Array, check_header, readable, shown
from distprop.errors import DataError

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LARGEST_ROW_BYTES = 1 << 30
LARGEST_WHOLE_BYTES = 1 << 30
LONGEST_HEADER = 10_000  # bytes: NumPy trusts no longer one
MOST_AXES = 32
_BROKEN = (
    OSError, EOFError, ValueError, OverflowError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class ArrayStream:
    """An array in a file. `open` gives its elements' bytes from the first on, in C order.

    `whole`: an array in column-major order is no stream of rows; it is mapped, or read whole where it is compressed.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    open: Callable[[], IO[bytes]]
    whole: Callable[[], Array] | None = None

    @property
    def rows(self) -> int:
        return self.shape[0]

    def blocks(self, rows: int) -> Iterator[Array]:
        """Blocks of so many rows in order (the last may be shorter), in the machine's byte order.

        Raises DataError if the file is shorter or longer than its header says, or damaged.
        """
        try:
            if self.whole is not None:
                array = self.whole()
                yield from (np.ascontiguousarray(array[n : n + rows]) for n in range(0, self.rows, rows))
                return
            with self.open() as stream:
                for first in range(0, self.rows, rows):
                    yield self._block(stream, min(rows, self.rows - first), first)
                if stream.read(1):
                    raise DataError(f"{self.name}: there is more data than the header's shape {self.shape} says")
        except _BROKEN as error:
            raise DataError(f"{self.name}: the file is damaged ({error})") from None

    def _block(self, stream: IO[bytes], rows: int, first: int) -> Array:
        wanted = rows * row_bytes(self)
        data = bytearray()  # grows with what is there, whatever the header says
        while len(data) < wanted:
            some = stream.read(min(wanted - len(data), CHUNK_BYTES))
            if not some:
                row = first + len(data) // row_bytes(self)
                raise DataError(f"{self.name}: the file ends at row {row} of {self.rows}; it is cut off")
            data += some
        block = np.frombuffer(data, self.dtype).reshape(rows, *self.shape[1:])
        return block.astype(self.dtype.newbyteorder("="), copy=False)


def row_bytes(stream: ArrayStream) -> int:
    return math.prod(stream.shape[1:]) * stream.dtype.itemsize


def open_array(path: Path) -> ArrayStream:
    """Open a .npy or IDX file, gzipped or not, known by its first bytes. Raises DataError."""
    with _decompressed(readable(path)) as stream:
        start = _start(stream, path, 6)
    if start == b"\x93NUMPY":
        return _npy(str(path), lambda: _decompressed(path))
    if start[:2] == b"\0\0":
        return _idx(path)
    raise DataError(f"{path}: neither a .npy nor an IDX file: it begins with the bytes {start[:4].hex(' ')}")


def open_npz(path: Path) -> dict[str, ArrayStream]:
    """The arrays of a .npz file by name. Raises DataError."""
    try:
        with zipfile.ZipFile(readable(path)) as archive:
            members = archive.namelist()
    except _BROKEN as error:
        raise DataError(f"{path}: not a .npz file ({error})") from None
    names = [member[:-4] for member in members if member.endswith(".npy")]
    if not names:
        raise DataError(f"{path}: there is no array in this file")
    check_header(path, names, "array")
    return {name: _npy(f"{path}, array {shown(name)}", _member_opener(path, f"{name}.npy")) for name in names}


def _member_opener(path: Path, member: str) -> Callable[[], IO[bytes]]:
    return lambda: zipfile.ZipFile(path).open(member)


def _decompressed(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if zipped else path.open("rb")


def _start(stream: IO[bytes], path: Path, count: int) -> bytes:
    try:
        return stream.read(count)
    except _BROKEN as error:
        raise DataError(f"{path}: the file is damaged ({error})") from None


def _npy(name: str, opener: Callable[[], IO[bytes]]) -> ArrayStream:
    try:
        with opener() as stream:
            shape, fortran, dtype = _npy_header(stream)
            offset = stream.tell()
    except _BROKEN as error:
        raise DataError(f"{name}: the header of the array is damaged ({shown(str(error), 100)})") from None
    array = _checked(name, shape, dtype, lambda: _after(opener(), offset))
    return dataclasses.replace(array, whole=lambda: _column_major(array)) if fortran and len(shape) > 1 else array


def _column_major(stream: ArrayStream) -> Array:
    """The array of a stream in column-major order: mapped where the file is plain, read whole otherwise."""
    with stream.open() as file:
        if isinstance(file, io.BufferedReader):
            return np.memmap(file, stream.dtype, "r", file.tell(), stream.shape, "F")
        wanted = math.prod(stream.shape) * stream.dtype.itemsize
        if wanted > LARGEST_WHOLE_BYTES:
            raise DataError(
                f"{stream.name}: compressed, in column-major order and larger than 1 GiB; save it in C order"
            )
        data = file.read(wanted + 1)
    if len(data) != wanted:
        raise DataError(f"{stream.name}: the header's shape {stream.shape} doesn't fit the data; the file is damaged")
    return np.frombuffer(data, stream.dtype).reshape(stream.shape, order="F")


def _npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    readers = {(1, 0): (2, np.lib.format.read_array_header_1_0), (2, 0): (4, np.lib.format.read_array_header_2_0)}
    if version not in readers:
        raise ValueError(f"version {version[0]}.{version[1]} of the format is not known")
    size, read = readers[version]
    start = stream.read(size)
    length = int.from_bytes(start, "little")
    if length > LONGEST_HEADER:  # NumPy would read it all before it looks
        raise ValueError(f"it is {length} bytes long")
    return read(io.BytesIO(start + stream.read(length)))


def _idx(path: Path) -> ArrayStream:
    with _decompressed(path) as stream:
        magic = _start(stream, path, 4)
        if len(magic) < 4 or magic[2] not in IDX_TYPES or magic[3] == 0:
            raise DataError(f"{path}: bad IDX header {magic.hex(' ')}: an unknown type of elements or no axes")
        lengths = _start(stream, path, 4 * magic[3])
    if len(lengths) < 4 * magic[3]:
        raise DataError(f"{path}: the file ends inside its IDX header; it is cut off")
    shape = struct.unpack(f">{magic[3]}I", lengths)
    offset = 4 + len(lengths)
    return _checked(str(path), shape, np.dtype(IDX_TYPES[magic[2]]), lambda: _after(_decompressed(path), offset))


def _after(stream: IO[bytes], offset: int) -> IO[bytes]:
    stream.read(offset)
    return stream


def _checked(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], opener: Callable[[], IO[bytes]]) -> ArrayStream:
    if dtype.hasobject or dtype.kind not in "biufUS" or dtype.itemsize == 0:
        raise DataError(f"{name}: elements of type {dtype} can't be used; save numbers, booleans or text")
    if not shape:
        raise DataError(f"{name}: the array is a single value; its first axis has to be the samples")
    if len(shape) > MOST_AXES or any(type(length) is not int or length < 0 for length in shape):
        axes = f"{len(shape)} axes" if len(shape) > MOST_AXES else f"shape {shape}"
        raise DataError(f"{name}: an array can't have {axes}; the header is damaged")
    if 0 in shape:
        raise DataError(f"{name}: the array of shape {shape} is empty")
    if math.prod(shape[1:]) * dtype.itemsize > LARGEST_ROW_BYTES:
        raise DataError(f"{name}: a sample of shape {shape[1:]} is larger than 1 GiB; the header may be damaged")
    return ArrayStream(name, shape, dtype, opener)
