"""Which reader reads which file."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from distprop.config.data import Arrays, Data
from distprop.config.data import Source as SourcePath
from distprop.data.array_table import open_arrays, open_features, open_npz_table
from distprop.data.source import Source, readable
from distprop.errors import DataError

TABLES = ".csv, .csv.gz, .tsv, .parquet or .npz"


def files_of(source: SourcePath) -> list[Path]:
    """The files that a source consists of. Raises DataError if one can't be read."""
    if isinstance(source, str):
        return [readable(Path(source))]
    given = [source.features, source.targets, source.weights]
    return [readable(Path(path)) for path in given if path is not None]


def rows_text(data: Data, rows: Sequence[int]) -> str:
    """Rows of the training data, from 0, as the user knows them: lines of a CSV file, rows of others."""
    source, count = data.train, len(rows)
    path = Path(source if isinstance(source, str) else source.features)
    if is_csv(path) and path.exists():
        from distprop.data.csv_table import CsvTable

        with suppress(DataError, OSError):  # it may have changed since it was prepared
            lines = CsvTable(path, data.delimiter, data.missing_markers).lines(rows)
            return f"line{'s' * (count > 1)} {listed(lines)} of {path}"
    of_file = f" of {path}" if path.exists() else ""
    return f"row{'s' * (count > 1)} {listed(sorted(rows))}{of_file} (counted from 0)"


def listed(numbers: Sequence[int]) -> str:
    """Such as 3, 5 and 8."""
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}" if most else last


def is_csv(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv", ".txt"))


def open_source(source: SourcePath, missing_markers: Sequence[str], delimiter: str) -> Source:
    """Open a table by its name's ending, or arrays by their first bytes. Raises DataError."""
    if isinstance(source, Arrays):
        return open_arrays(source)
    path = Path(source)
    name = path.name.lower().removesuffix(".gz")
    # Arrow is imported only for the files that need it: ranks that find their data prepared never load it.
    if is_csv(path):
        from distprop.data.csv_table import CsvTable

        return CsvTable(path, delimiter, missing_markers)
    if name.endswith((".parquet", ".pq")):
        from distprop.data.parquet_table import ParquetTable

        return ParquetTable(path, missing_markers)
    if name.endswith(".npz"):
        return open_npz_table(path)
    if name.endswith((".npy", "-ubyte")):
        return open_features(path)
    raise DataError(
        f"{path}: the name ends in none of {TABLES}; arrays in files of their own are given as features and targets"
    )
