"""CSV files, plain or gzipped, streamed by Arrow; to name the line of a fault, the file is read again slowly."""

import csv
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

from distprop.data.arrow_columns import floats, texts_of
from distprop.data.source import Chunk, Kind, check_header, readable, shown
from distprop.errors import DataError

BLOCK_BYTES = 1 << 18  # read at once; more where the header shows that rows are long. Arrow holds about 40 of them
LONGEST_LINE = 16 << 20  # characters: a file without line ends would fill the memory
PREVIEW_ROWS = 1000  # what the kind of a column is judged by
_BROKEN = (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError)


class CsvTable:
    """Columns of a CSV file with a header. A column that begins with a number, true or false holds numbers."""

    def __init__(self, path: Path, delimiter: str, missing_markers: Sequence[str]):
        self.path = readable(path)
        self._delimiter = delimiter
        self._markers = frozenset(missing_markers)
        self._header, preview = self._preview()
        check_header(path, self._header, cure="the first line has to name every column")
        self._check_delimiter()
        self._columns: dict[str, Kind] = {}
        self._booleans: set[str] = set()
        for n, name in enumerate(self._header):
            self._judge(name, (row[n] for row in preview if n < len(row)))

    @property
    def columns(self) -> dict[str, Kind]:
        return self._columns

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        return {}

    def chunks(self, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[Chunk]:
        value: object = None
        try:
            for batch in self._open(numbers, texts):
                if batch.num_rows:
                    value = batch.column(self._header[-1])[-1].as_py()
                    yield Chunk(
                        rows=batch.num_rows,
                        numbers={name: floats(batch.column(name)) for name in numbers},
                        texts={name: texts_of(batch.column(name)) for name in texts},
                    )
        except (pa.ArrowException, *_BROKEN) as error:
            raise self._explained(error, numbers) from None
        # An open quote makes one value of all that follows, which is no fault if it opens in the last column.
        has_line_ends = isinstance(value, bytes | str) and value and value.splitlines() != [value]
        if has_line_ends and (unclosed := self._unclosed()):
            raise unclosed

    def column_title(self, column: str) -> str:
        return f'{self.path}, column "{shown(column)}"'

    def place(self, row: int, column: str) -> str:
        lines = self.lines([row])
        where = f"line {lines[0]}" if lines else f"row {row}"
        return f'{self.path}, {where}, column "{shown(column)}"'

    def lines(self, rows: Collection[int]) -> list[int]:
        """The lines of the file, from 1, in which rows (from 0) begin."""
        wanted = set(rows)
        known = (line for n, (line, _) in enumerate(self._rows()) if n in wanted)
        return list(itertools.islice(known, len(wanted)))

    def _open(self, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[Any]:
        kinds = {name: pa.bool_() if name in self._booleans else pa.float64() for name in numbers}
        longest = max(BLOCK_BYTES, 64 * sum(len(name) + 1 for name in self._header))
        convert = arrow_csv.ConvertOptions(
            column_types={self._header[-1]: pa.binary(), **kinds, **{name: pa.string() for name in texts}},
            include_columns=list(dict.fromkeys([*numbers, *texts, self._header[-1]])),
            null_values=sorted(self._markers),
            strings_can_be_null=True,
        )
        parse = arrow_csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True)
        read = arrow_csv.ReadOptions(block_size=longest, column_names=list(self._header), skip_rows_after_names=1)
        with pa.input_stream(str(self.path), compression="gzip" if self._zipped() else None) as stream:
            yield from arrow_csv.open_csv(stream, read_options=read, parse_options=parse, convert_options=convert)

    def _zipped(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"

    def _preview(self) -> tuple[tuple[str, ...], list[list[str]]]:
        rows = self._rows(header=True)
        _, header = next(rows, (0, []))
        preview = [row for (_, row), _ in zip(rows, range(PREVIEW_ROWS), strict=False)]
        if any("\0" in name for name in header):
            raise DataError(f"{self.path}, line 1: there are NUL bytes, so this is no text; save it as CSV in UTF-8")
        if not preview:
            raise self._unclosed() or DataError(f"{self.path}: there are no rows below the header")
        return tuple(header), preview

    def _check_delimiter(self) -> None:
        if len(self._header) > 1:
            return
        for other in {",", ";", "\t", "|"} - {self._delimiter}:
            if other in self._header[0]:
                raise DataError(
                    f'{self.path}: the header is a single name, "{shown(self._header[0])}"; '
                    f"set delimiter = {json.dumps(other)} under [data]"
                )

    def _judge(self, name: str, values: Iterable[str]) -> None:
        first = next((value for value in values if value not in self._markers), "0")
        if first.strip().lower() in ("true", "false"):
            self._booleans.add(name)
        self._columns[name] = "number" if name in self._booleans or _is_number(first) else "text"

    def _rows(self, header: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Each row with the line on which it begins, as Python's own reader sees the file."""
        try:
            with self._text() as file:
                reader = csv.reader(self._lines(file), delimiter=self._delimiter)
                for n, located in enumerate(_located(reader)):
                    if header or n > 0:
                        yield located
        except _BROKEN as error:
            raise self._unreadable(error) from None

    def _lines(self, file: IO[str]) -> Iterator[str]:
        for number in itertools.count(1):
            line = file.readline(LONGEST_LINE)
            if len(line) == LONGEST_LINE:
                raise DataError(f"{self.path}, line {number}: more than {LONGEST_LINE} characters; is this CSV?")
            if not line:
                return
            yield line

    def _text(self) -> IO[str]:
        if self._zipped():
            return cast(IO[str], gzip.open(self.path, "rt", encoding="utf-8-sig", newline=""))
        return self.path.open("rt", encoding="utf-8-sig", newline="")

    def _unreadable(self, error: BaseException) -> DataError:
        if isinstance(error, UnicodeDecodeError):
            byte = error.object[error.start]
            return DataError(
                f"{self.path}, line {self._undecodable_line()}: byte 0x{byte:02x} is no text in UTF-8; "
                "save the file as CSV in UTF-8"
            )
        unclosed = self._unclosed() if isinstance(error, csv.Error) else None
        return unclosed or DataError(f"{self.path}: the file is damaged or no CSV ({error})")

    def _undecodable_line(self) -> int:
        """The first line that is no UTF-8. The reader's own count is behind, as it decodes many lines at once."""
        with cast(IO[bytes], gzip.open(self.path) if self._zipped() else self.path.open("rb")) as file:
            for number in itertools.count(1):
                try:
                    if not (line := file.readline(LONGEST_LINE)):
                        return number
                    line.decode()
                except (UnicodeDecodeError, *_BROKEN):
                    return number
        return 0

    def _unclosed(self) -> DataError | None:
        """The error of a value that can't end: its quote is never closed, or it is as long as no value should be."""
        row = 1
        try:
            with self._text() as file:
                reader = csv.reader(self._lines(file), delimiter=self._delimiter, strict=True)
                for _ in reader:
                    row = reader.line_num + 1
        except csv.Error as error:
            if "end of data" in str(error):
                return DataError(f"{self.path}, line {row}: a quote that opens in this row is never closed")
            if "field limit" in str(error):
                return DataError(
                    f"{self.path}, line {row}: a value of more than {csv.field_size_limit()} characters, "
                    "or a quote that is never closed"
                )
        except _BROKEN:
            return None
        return None

    def _explained(self, error: BaseException, numbers: Sequence[str]) -> DataError:
        """The error with its line and column, found by reading the file again."""
        named = re.search(
            r"CSV column #(\d+)", str(error)
        )  # Arrow may name the column, which saves looking at the others
        suspects = set(numbers) & ({self._header[int(named[1])]} if named else set(numbers))
        places = {name: n for n, name in enumerate(self._header) if name in suspects}
        for line, row in self._rows():
            if len(row) != len(self._header):
                unclosed = self._unclosed() if any("\n" in value for value in row) else None
                return unclosed or DataError(
                    f"{self.path}, line {line}: {len(row)} values, but the header names {len(self._header)} columns"
                )
            for name, n in places.items():
                if row[n] not in self._markers and not self._fits(name, row[n]):
                    unclosed = self._unclosed() if "\n" in row[n] else None
                    return unclosed or self._not_a_number(line, name, row[n])
        return self._unreadable(RuntimeError(str(error).splitlines()[0]))

    def _fits(self, name: str, value: str) -> bool:
        if name in self._booleans:
            return value in ("0", "1", "true", "True", "TRUE", "false", "False", "FALSE")
        return _is_number(value)

    def _not_a_number(self, line: int, name: str, value: str) -> DataError:
        kind = "true or false, as the column's first value is" if name in self._booleans else "a number"
        return DataError(
            f'{self.path}, line {line}, column "{shown(name)}": "{shown(value)}" is not {kind}; correct it, or '
            "add it to missing_markers under [data]; a feature can also be listed in categorical under [data.columns]"
        )


def _located(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line on which each begins; empty lines are no rows."""
    before = 0
    for row in reader:
        if row:
            yield before + 1, row
        before = reader.line_num


def _is_number(text: str) -> bool:
    """Whether Arrow reads the text as a number: as Python does, but without 1_000 and digits of other scripts."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text
