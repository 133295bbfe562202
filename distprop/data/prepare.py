"""Preparation: source files become memory-mapped arrays in a cache folder, once for all ranks and all runs."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distprop.config.data import Arrays, Data
from distprop.config.data import Source as SourcePath
from distprop.config.run import DataType
from distprop.data import statistics
from distprop.data.array_file import ArrayWriter
from distprop.data.blocks import FileBlocks, Rows
from distprop.data.cache import key_of, prepared_once, read_index
from distprop.data.encode import Encoder
from distprop.data.encoding import Column, Encoding, Statistics, Target
from distprop.data.open_source import files_of, open_source
from distprop.data.source import Source
from distprop.data.split import Split, choose_validation
from distprop.data.survey import survey
from distprop.errors import ConfigError, DataError
from distprop.paths import cache_folder

TRAINING_ROWS, VALIDATION_ROWS, VALIDATION = "training_rows.npy", "validation_rows.npy", "validation"


@dataclass(frozen=True)
class Prepared:
    """Data that are ready for training. `digest`: SHA-256 over arrays and encoding."""

    folder: Path
    encoding: Encoding
    training: Split
    validation: Split | None
    digest: str


def prepare(data: Data, seed: int, dtype: DataType, folder: Path | None = None) -> Prepared:
    """Prepare the data, or find them prepared. Processes that come at the same time wait for the first one.

    `data`: with absolute paths, and `target_kind` resolved (None counts as "classes"). `seed`: decides which rows
    `validation_fraction` takes. `folder`: the cache, by default that of the user. Raises DataError, ConfigError.
    """
    _check(data)
    paths = [*files_of(data.train), *(files_of(data.validation) if data.validation else [])]
    options = [dataclasses.asdict(data), seed if data.validation_fraction else None, dtype]
    key = key_of(paths, options)

    def make(partial: Path) -> Encoding:
        encoding = _make(data, seed, dtype, partial)
        if key_of(paths, options) != key:
            raise DataError(f"{paths[0]}: the file changed while it was read; start again")
        return encoding

    base = folder or cache_folder("data")
    found, index = prepared_once(base, key, make)
    return _opened(found, json.dumps(index["encoding"]), index["arrays"])


def find_prepared(key: str, folder: Path | None = None) -> Prepared | None:
    """The data that have this name, wherever their sources are; None if they aren't here."""
    found = (folder or cache_folder("data")) / key
    index = read_index(found) if key else None
    return _opened(found, json.dumps(index["encoding"]), index["arrays"]) if index else None


def encode_file(
    path: SourcePath, encoding: Encoding, dtype: DataType, need_targets: bool, folder: Path | None = None
) -> Split:
    """Prepare another file as the training data were, to evaluate (`need_targets`) or to predict. Raises DataError.

    A .npy or IDX file by itself holds the features; a table may have other columns too, which are left alone.
    """
    paths = files_of(path)

    def make(partial: Path) -> Encoding:
        source = open_source(path, encoding.missing_markers, encoding.delimiter)
        own = _with_own_weights(encoding, path)
        Encoder(source, own, dtype, need_targets).write(partial)
        _check_weights(source, own, partial, None)
        return encoding

    key = key_of(paths, [encoding.to_json(), dtype, need_targets])
    found, _ = prepared_once(folder or cache_folder("data"), key, make)
    return Split(found)


def _check(data: Data) -> None:
    if data.validation is not None and data.validation_fraction:
        raise ConfigError(["data.validation_fraction: validation is given as a file too; remove one of them"])
    if data.stratify and not data.validation_fraction:
        raise ConfigError(["data.stratify: there is nothing to stratify without validation_fraction"])
    if data.stratify and data.target_kind == "values":
        raise ConfigError(["data.stratify: targets that are values have no classes to stratify by"])


def _make(data: Data, seed: int, dtype: DataType, folder: Path) -> Encoding:
    source = open_source(data.train, data.missing_markers, data.delimiter)
    encoding = survey(source, data)
    count = Encoder(source, encoding, dtype, keep_missing=data.missing == "mean").write(folder)
    rows = _split_rows(data, seed, folder, count)
    if data.missing == "mean":
        encoding = _with_means(source.path, encoding, folder, rows)
    encoding = dataclasses.replace(encoding, statistics=_statistics(source.path, folder, encoding.target, rows))
    _check_weights(source, encoding, folder, rows)
    if data.validation is not None:
        (folder / VALIDATION).mkdir()
        validation = open_source(data.validation, data.missing_markers, data.delimiter)
        own = _with_own_weights(encoding, data.validation)
        Encoder(validation, own, dtype).write(folder / VALIDATION)
        _check_weights(validation, own, folder / VALIDATION, None)
    return encoding


def _split_rows(data: Data, seed: int, folder: Path, count: int) -> Rows:
    """Write the lists of training and validation rows; return the training rows, None for all."""
    if not data.validation_fraction:
        return None
    if count < 2:
        raise DataError(f"{files_of(data.train)[0]}: one row can't be divided into training and validation")
    labels = np.load(folder / "labels.npy") if data.stratify else None
    training, validation = choose_validation(count, data.validation_fraction, seed, labels)
    for name, rows in ((TRAINING_ROWS, training), (VALIDATION_ROWS, validation)):
        with ArrayWriter(folder / name, (), np.int64) as file:
            file.append(rows)
    return training


def _with_means(source: Path, encoding: Encoding, folder: Path, rows: Rows) -> Encoding:
    """Put the mean over the training rows for missing numbers: into the arrays and, for other files, the encoding."""
    path = folder / "features.npy"
    array = FileBlocks(path, rows)
    if array.dtype == np.uint8:
        return encoding
    means, counts = statistics.mean_of_present(array)
    columns, first = [], 0
    for column in encoding.columns:
        part = slice(first, first + column.width)
        first += column.width
        if not counts[part].all():
            raise DataError(
                f'{source}, column "{column.name}": all training values are missing and have no mean; drop the column'
            )
        columns.append(_filled(column, means[part].tolist()))
    FileBlocks(path, write=True).fill_missing(means, statistics.block_rows(array.width))
    return dataclasses.replace(encoding, columns=tuple(columns))


def _with_own_weights(encoding: Encoding, path: SourcePath) -> Encoding:
    """The encoding for another source: weights that are given with arrays count, whatever the training data had."""
    own = isinstance(path, Arrays) and path.weights is not None
    return dataclasses.replace(encoding, weight="weight") if own else encoding


def _filled(column: Column, means: list[float]) -> Column:
    return column if column.kind == "category" else dataclasses.replace(column, fill=tuple(means))


def _statistics(path: Path, folder: Path, target: Target, rows: Rows) -> Statistics:
    classes = target.kind == "classes"
    labels = FileBlocks(folder / "labels.npy", rows) if classes else None
    targets = None if classes else FileBlocks(folder / "targets.npy", rows)
    try:
        return statistics.describe(FileBlocks(folder / "features.npy", rows), labels, targets, target)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _check_weights(source: Source, encoding: Encoding, folder: Path, rows: Rows) -> None:
    weights = folder / "weights.npy"
    if not weights.exists() or any(block.any() for block in FileBlocks(weights, rows).blocks(1 << 18)):
        return
    what = "all weights" if rows is None else "all weights of the rows that are left for training"
    raise DataError(f"{source.column_title(str(encoding.weight))}: {what} are 0")


def _opened(folder: Path, encoding: str, arrays: dict[str, dict[str, object]]) -> Prepared:
    split = TRAINING_ROWS in arrays
    digest = hashlib.sha256(encoding.encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name]['sha256']}\n".encode())
    validation = Split(folder, VALIDATION_ROWS) if split else None
    if f"{VALIDATION}/features.npy" in arrays:
        validation = Split(folder / VALIDATION)
    return Prepared(
        folder=folder,
        encoding=Encoding.from_json(encoding),
        training=Split(folder, TRAINING_ROWS if split else None),
        validation=validation,
        digest=digest.hexdigest(),
    )
