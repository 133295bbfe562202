"""Parquet files, streamed by Arrow one batch of rows at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from distprop.data.arrow_columns import floats, texts_of
from distprop.data.source import Chunk, Kind, Texts, check_header, readable, shown
from distprop.errors import DataError

BATCH_ROWS = 1 << 15


class ParquetTable:
    """Columns of a Parquet file: numbers, booleans (as 0 and 1) and text. Other columns have to be left out."""

    def __init__(self, path: Path, missing_markers: Sequence[str]):
        self.path = readable(path)
        self._markers = frozenset(missing_markers)
        try:
            with parquet.ParquetFile(path) as file:
                self._schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None
        if rows == 0:
            raise DataError(f"{path}: there are no rows in this file")
        check_header(path, self._schema.names)

    @property
    def columns(self) -> dict[str, Kind]:
        return {field.name: "text" if _is_text(field.type) else "number" for field in self._schema}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    @property
    def dtypes(self) -> dict[str, np.dtype[Any]]:
        return {}

    def chunks(self, numbers: Sequence[str], texts: Sequence[str]) -> Iterator[Chunk]:
        for name in (*numbers, *texts):
            self._check_type(name)
        for name in numbers:
            if self.columns[name] == "text":
                raise DataError(f"{self.column_title(name)}: text where numbers are needed")
        try:
            with parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=[*numbers, *texts]):
                    yield Chunk(
                        rows=batch.num_rows,
                        numbers={name: floats(batch.column(name)) for name in numbers},
                        texts={name: self._texts(batch.column(name)) for name in texts},
                    )
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(error) from None

    def column_title(self, column: str) -> str:
        return f'{self.path}, column "{shown(column)}"'

    def place(self, row: int, column: str) -> str:
        return f'{self.path}, row {row} (counted from 0), column "{shown(column)}"'

    def _texts(self, column: Any) -> Texts:
        return texts_of(column).without(self._markers)

    def _check_type(self, name: str) -> None:
        kind = self._schema.field(name).type
        usable = _is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not usable and not pa.types.is_decimal(kind) and not pa.types.is_null(kind):
            raise DataError(
                f'{self.path}, column "{shown(name)}": values of type {kind} are neither numbers nor text; '
                "convert the column or drop it"
            )

    def _damaged(self, error: BaseException) -> DataError:
        return DataError(f"{self.path}: the file is damaged or no Parquet ({str(error).splitlines()[0]})")


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
