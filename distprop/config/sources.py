"""Rules for where the data are: kinds of files, whether they exist, and the columns of tables."""

import os.path
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from distprop.config.data import Arrays, Columns, Data, Source
from distprop.config.lines import Key
from distprop.config.problems import Problem, wrong

TABLES = ".csv, .csv.gz, .tsv, .parquet, .npz"
TABLE_SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz", ".parquet", ".pq", ".npz")


def source_problems(data: Data, base: Path | None) -> Iterator[Problem]:
    """Sources of a wrong kind; with a folder `base`, also files that are not there."""
    for key in ("train", "validation"):
        source: Source | None = getattr(data, key)
        for path, file in _files(source, ("data", key)):
            yield from _file_problems(path, file, isinstance(source, Arrays), base)
    if data.validation is not None and isinstance(data.train, Arrays) is not isinstance(data.validation, Arrays):
        yield Problem(
            ("data", "validation"), "not the same kind of source as train (expected two tables, or arrays for both)"
        )


def _files(source: Source | None, path: Key) -> list[tuple[Key, str]]:
    if isinstance(source, Arrays):
        named = {"features": source.features, "targets": source.targets, "weights": source.weights}
        return [((*path, key), file) for key, file in named.items() if file is not None]
    return [] if source is None else [(path, source)]


def _file_problems(path: Key, file: str, is_array: bool, base: Path | None) -> Iterator[Problem]:
    is_table = file.lower().endswith(TABLE_SUFFIXES)
    if is_array and is_table:
        yield Problem(path, wrong("a table is no array", file, ".npy or an IDX file; give the table itself as text"))
    elif not is_array and not is_table:
        yield Problem(
            path, wrong("unknown kind of file", file, f"one of {TABLES}; or a table with features and targets")
        )
    elif base is not None:
        yield from file_problems(path, file, base, f"a path from the folder {os.path.abspath(base)}")  # noqa: PTH100


def file_problems(path: Key, file: str, base: Path, expected: str) -> Iterator[Problem]:
    """A file that is none, or not there."""
    full = os.path.join(base, os.path.expanduser(file))  # noqa: PTH111, PTH118 (Path raises for odd names, these don't)
    if os.path.isdir(full):  # noqa: PTH112
        yield Problem(path, wrong("is a folder", file, "a file"))
    elif os.path.exists(full) and not os.path.isfile(full):  # noqa: PTH110, PTH113
        yield Problem(path, wrong("is no ordinary file", file, "a file"))
    elif not os.path.isfile(full):  # noqa: PTH113
        yield Problem(path, wrong("no such file", file, expected))


def columns_problems(data: Data) -> Iterator[Problem]:
    columns = data.columns
    if isinstance(data.train, Arrays) and columns != Columns():
        yield Problem(("data", "columns"), "arrays have no columns (expected no [data.columns], or a table as data)")
        return
    targets = [columns.target] if isinstance(columns.target, str) else list(columns.target)
    yield from _repeated("target", targets)
    yield from _repeated("features", columns.features)
    yield from _repeated("categorical", columns.categorical)
    if columns.weight is not None and columns.weight in targets:
        yield Problem(("data", "columns", "weight"), wrong("is the target", columns.weight, "another column"))
    special = [*targets, *([] if columns.weight is None else [columns.weight])]
    for key, names in (("features", columns.features), ("categorical", columns.categorical)):
        for name in (name for name in special if name in names):
            role = "target" if name in targets else "weight"
            yield Problem(("data", "columns", key), wrong(f"the {role} can't be a feature", name, "other columns"))
    for name in (
        name for name in columns.categorical if columns.features and name not in (*columns.features, *special)
    ):
        yield Problem(
            ("data", "columns", "categorical"), wrong("is none of the features", name, "names that features has")
        )
    if not data.delimiter.isascii() or data.delimiter in '"\r\n\0':
        yield Problem(
            ("data", "delimiter"), wrong("can't separate columns", data.delimiter, "an ASCII character, not a quote")
        )


def _repeated(key: str, names: Sequence[str]) -> Iterator[Problem]:
    for name in (name for name, count in Counter(names).items() if count > 1):
        yield Problem(("data", "columns", key), wrong("is there twice", name, "each column once"))
