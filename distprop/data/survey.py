"""What a source of training data holds: its features, target and weight, their categories and classes."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from distprop.config.data import Arrays, Data
from distprop.data.array_table import ArrayTable
from distprop.data.encoding import Column, Encoding, Target, ordered_labels
from distprop.data.source import Source, quoted, require_columns, shown
from distprop.errors import DataError

MOST_CATEGORIES = 1000
MOST_CLASSES = 10_000


def survey(source: Source, data: Data) -> Encoding:
    """The encoding of a training source, still without statistics and means.

    Reads the source once if it has categories or classes. `target_kind` None counts as "classes". Raises DataError.
    """
    target_names, weight, features = _roles(source, data)
    kind = data.target_kind or "classes"
    columns = data.columns
    listed = set(columns.categorical)
    categorical = [name for name in features if name in listed or source.columns[name] == "text"]
    classes = list(target_names) if kind == "classes" else []
    found = _distinct(source, categorical, classes)
    encoded = tuple(_column(source, name, found.get(name), data) for name in features)
    return Encoding(
        columns=encoded,
        shape=_shape(source, encoded),
        target=_target(source, target_names, kind, found),
        weight=weight,
        missing_markers=data.missing_markers,
        delimiter=data.delimiter,
    )


def _roles(source: Source, data: Data) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    if isinstance(data.train, Arrays):
        return ("target",), "weight" if data.train.weights is not None else None, ("features",)
    if isinstance(source, ArrayTable) and source.path.suffix != ".npz":
        raise DataError(f"{source.path}: this is an array of features only; give the file of the targets beside it")
    columns = data.columns
    target = (columns.target,) if isinstance(columns.target, str) else columns.target
    require_columns(source, target, " Name the column to predict by target under [data.columns]")
    weight = () if columns.weight is None else (columns.weight,)
    require_columns(source, (*weight, *columns.features, *columns.categorical))
    features = columns.features or tuple(name for name in source.columns if name not in (*target, *weight))
    _check_roles(source, target, weight, features, columns.categorical)
    return target, columns.weight, features


def _check_roles(
    source: Source,
    target: Sequence[str],
    weight: Sequence[str],
    features: Sequence[str],
    categorical: Sequence[str],
) -> None:
    if not features:
        raise DataError(f"{source.path}: no column is left to be a feature; it has {quoted(source.columns)}")
    used: set[str] = set()
    for name in (*target, *weight, *features):
        if name in used:
            raise DataError(
                f'{source.path}: column "{shown(name)}" is used twice; it can be feature, target or weight, once'
            )
        used.add(name)
    for name in categorical:
        if name not in used or name in (*target, *weight):
            raise DataError(f'{source.path}: column "{shown(name)}" is listed as categorical, but is no feature')


def _distinct(source: Source, categorical: Sequence[str], classes: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in (*categorical, *classes)}
    if not found:
        return found
    for chunk in source.chunks((), tuple(found)):
        for name, texts in chunk.texts.items():
            present = np.unique(texts.codes[texts.codes >= 0]).tolist()
            found[name].update(texts.values[code] for code in present)
            _check_count(source, name, len(found[name]), name in classes)
    return found


def _check_count(source: Source, name: str, count: int, classes: bool) -> None:
    if classes and count > MOST_CLASSES:
        raise DataError(
            f"{source.column_title(name)}: more than {MOST_CLASSES} classes; "
            'to predict numbers, set target_kind = "values" under [data]'
        )
    if not classes and count > MOST_CATEGORIES:
        raise DataError(
            f"{source.column_title(name)}: more than {MOST_CATEGORIES} categories; "
            "drop it by listing the others in features under [data.columns]"
        )


def _column(source: Source, name: str, categories: set[str] | None, data: Data) -> Column:
    constant = None if isinstance(data.missing, str) else (float(data.missing),)
    if categories is not None:
        ordered = ordered_labels(categories)
        if not ordered:
            raise DataError(f"{source.column_title(name)}: all values are missing; drop the column")
        # A missing category is none of the known ones: all zeros.
        return Column(name, "category", len(ordered), ordered, None if data.missing == "error" else (0.0,))
    if source.columns[name] == "array":
        return Column(name, "array", math.prod(source.shapes[name]), (), constant)
    return Column(name, "number", 1, (), constant)


def _shape(source: Source, columns: tuple[Column, ...]) -> tuple[int, ...]:
    if len(columns) == 1 and columns[0].kind == "array":
        return source.shapes[columns[0].name]
    return (sum(column.width for column in columns),)


def _target(
    source: Source, names: tuple[str, ...], kind: Literal["classes", "values"], found: dict[str, set[str]]
) -> Target:
    if kind == "values":
        for name in names:
            if source.columns[name] == "text":
                raise DataError(f"{source.column_title(name)}: the target holds text, but numbers are to be predicted")
        return Target(names, "values", (), sum(math.prod(source.shapes.get(name, ())) for name in names))
    if len(names) > 1:
        raise DataError(f"{source.path}: classes are in one column, but target names {quoted(names)}")
    classes = ordered_labels(found[names[0]])
    if not classes:
        raise DataError(f"{source.column_title(names[0])}: the class is missing in every row")
    if len(classes) < 2:
        raise DataError(
            f"{source.column_title(names[0])}: all rows are of one class ({quoted(classes)}); at least two are needed"
        )
    return Target(names, "classes", classes, len(classes))
