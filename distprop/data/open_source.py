"""Which reader reads which file."""

from collections.abc import Sequence
from pathlib import Path

from distprop.config.data import Arrays
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


def open_source(source: SourcePath, missing_markers: Sequence[str], delimiter: str) -> Source:
    """Open a table by its name's ending, or arrays by their first bytes. Raises DataError."""
    if isinstance(source, Arrays):
        return open_arrays(source)
    path = Path(source)
    name = path.name.lower().removesuffix(".gz")
    # Arrow is imported only for the files that need it: ranks that find their data prepared never load it.
    if name.endswith((".csv", ".tsv", ".txt")):
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
