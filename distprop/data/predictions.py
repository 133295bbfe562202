"""Predictions as a file: CSV with names for people, .npy with the bare numbers for programs.

Shapes: R rows of a chunk; K outputs.
"""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from distprop.data.array_file import ArrayWriter
from distprop.data.encoding import Encoding, Target
from distprop.data.source import Array
from distprop.errors import UsageError
from distprop.files import written_whole


def check_output(path: Path, source: Path | None = None) -> None:
    """Raise UsageError if predictions can't be written there, or would replace the `source` that they are made of."""
    if path.suffix not in (".csv", ".npy"):
        raise UsageError(f"{path}: predictions are written as .csv or .npy")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise UsageError(f"{path}: this is a folder")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise UsageError(f"{path}: predictions would replace the data that they are made of; give another --output")


def write_predictions(path: Path, encoding: Encoding, chunks: Iterable[Array]) -> int:
    """Write predictions, complete or not at all; return the number of rows.

    `chunks`: (R, K) arrays, for classes their probabilities, for values the values. A network with one output for two
    classes gives (R, 1): the probability of the second class. CSV: `prediction`, `probability_<class>` for classes, the
    targets' names for values, numbers in the fewest digits that give the same bits back. Raises UsageError.
    """
    check_output(path)
    both = (_two_classes(chunk, encoding.target) for chunk in chunks)
    try:
        with written_whole(path) as partial:
            return _write_csv(partial, encoding.target, both) if path.suffix == ".csv" else _write_npy(partial, both)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None


def header(target: Target) -> list[str]:
    """The columns of the CSV file."""
    if target.kind == "classes":
        return ["prediction", *(f"probability_{name}" for name in target.classes)]
    return list(target.output_names)


def _two_classes(chunk: Array, target: Target) -> Array:
    if target.kind == "classes" and len(target.classes) == 2 and chunk.shape[1] == 1:
        return np.concatenate([1 - chunk, chunk], axis=1)
    return chunk


def _write_csv(path: Path, target: Target, chunks: Iterable[Array]) -> int:
    rows = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header(target))
        for chunk in chunks:
            numbers = chunk.astype("U32").tolist()
            if target.kind == "classes":
                winners = np.argmax(chunk, axis=1).tolist()
                numbers = [[target.classes[n], *row] for n, row in zip(winners, numbers, strict=True)]
            writer.writerows(numbers)
            rows += len(chunk)
    return rows


def _write_npy(path: Path, chunks: Iterable[Array]) -> int:
    iterator = iter(chunks)
    first = next(iterator, np.empty((0, 0), np.float32))
    with ArrayWriter(path, first.shape[1:], first.dtype) as file:
        file.append(first)
        for chunk in iterator:
            file.append(chunk)
    return file.rows
