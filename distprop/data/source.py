"""What every reader of data offers: named columns, read in chunks, and the place in the file of any row."""

import difflib
import os.path
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from distprop.errors import DataError

Array: TypeAlias = npt.NDArray[Any]
Kind: TypeAlias = Literal["number", "text", "array"]

CHUNK_BYTES = 4 << 20  # about what is read at once


@dataclass(frozen=True)
class Texts:
    """A chunk of a column of text: `values[codes[n]]` is row n; code -1 is a missing value."""

    codes: npt.NDArray[np.int64]
    values: list[str]

    def without(self, markers: Collection[str]) -> "Texts":
        """The same, with the values among the markers missing."""
        missing = [code for code, value in enumerate(self.values) if value in markers]
        if not missing:
            return self
        return Texts(np.where(np.isin(self.codes, missing), -1, self.codes), self.values)


@dataclass(frozen=True)
class Chunk:
    """Some rows. `numbers`: (rows, ...) an array a column, with NaN for missing; `texts`: columns of text."""

    rows: int
    numbers: dict[str, Array] = field(default_factory=dict)
    texts: dict[str, Texts] = field(default_factory=dict)


class Source(Protocol):
    """One table, or a few arrays that share their rows.

    `columns`: the natural kind of each column, in the file's order. `shapes`, `dtypes`: of one row of arrays.
    """

    path: Path

    @property
    def columns(self) -> dict[str, Kind]: ...
    @property
    def shapes(self) -> dict[str, tuple[int, ...]]: ...
    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]: ...

    def chunks(self, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[Chunk]:
        """All rows in order, the columns `numbers` as numbers and `texts` as text. Raises DataError."""
        ...

    def column_title(self, column: str) -> str:
        """A column for an error: `train.csv, column "age"`."""
        ...

    def place(self, row: int, column: str) -> str:
        """Where the value of a row (from 0) stands, for an error: `train.csv, line 18, column "age"`."""
        ...


def shown(text: str, limit: int = 60) -> str:
    """Text from a file for a message of one line: short, and without line breaks or other control characters."""
    visible = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text[:limit])
    return visible if len(text) <= limit else f"{visible}..."


def quoted(names: Iterable[str], limit: int = 12) -> str:
    """Names for a message, shortened when there are many."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(shown(name) for name in listed[:limit]) + more


def similar(name: str, names: Collection[str]) -> str:
    """`; did you mean "age"?` or nothing."""
    close = difflib.get_close_matches(name, names, 1) or [other for other in names if other.lower() == name.lower()][:1]
    return f'; did you mean "{shown(close[0])}"?' if close else ""


def require_columns(source: Source, names: Iterable[str], cure: str = "") -> None:
    """Raise DataError for the first name that is no column of the source."""
    for name in names:
        if name not in source.columns:
            hint = similar(name, source.columns) or f"; it has {quoted(source.columns)}{'.' if cure else ''}"
            raise DataError(f'{source.path}: there is no column "{shown(name)}"{hint}{cure}')


def check_header(path: Path, names: Sequence[str], noun: str = "column", cure: str = "give it one") -> None:
    """Raise DataError for a column without a name or a name given twice."""
    seen: set[str] = set()
    for n, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{path}: {noun} {n + 1} has no name; {cure}")
        if name in seen:
            raise DataError(f'{path}: two {noun}s are called "{shown(name)}"; rename or remove one')
        seen.add(name)


def readable(path: Path) -> Path:
    """The path of an existing, non-empty, readable file. Raises DataError otherwise."""
    if not os.path.exists(path):  # noqa: PTH110 (Path raises for odd names, this doesn't)
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: there is no such file{similar(path.name, siblings)}")
    if not path.is_file():
        raise DataError(f"{path}: this is not a file")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path}: the name of this file, or of its folder, is not text in UTF-8; rename it") from None
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty")
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return path
