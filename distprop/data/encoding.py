"""The encoding of data: how the columns of a file become features and labels. It is kept inside the model file.

Shapes: R rows; F features of a row after encoding (the product of `Encoding.shape`); K classes.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Literal

from distprop.config.declaration import computed
from distprop.config.tree import from_json, to_object
from distprop.errors import DataError


@computed
class Column:
    """One column of a table, or one array, and the features that it becomes.

    A "number" becomes one feature, a "category" one feature a category (1 for its own, 0 for others), an "array"
    all its elements. `fill` stands for missing values: one number, or one an element; None: missing is an error.
    """

    name: str
    kind: Literal["number", "category", "array"]
    width: int = 1
    categories: tuple[str, ...] = ()
    fill: tuple[float, ...] | None = None


@computed
class Target:
    """What is predicted. `names`: the columns; `classes`: their labels in order; `outputs`: K, or values a row."""

    names: tuple[str, ...]
    kind: Literal["classes", "values"]
    classes: tuple[str, ...] = ()
    outputs: int = 1

    @property
    def output_names(self) -> tuple[str, ...]:
        """A name for each output: the class, the column, or the array's name with a number."""
        if self.kind == "classes":
            return self.classes
        if len(self.names) == self.outputs:
            return self.names
        return tuple(f"{self.names[0]}_{n}" for n in range(self.outputs))


@computed
class Statistics:
    """Exact statistics over the training rows.

    `mean`, `deviation`: of each of the F features; the population's standard deviation, 1 where it is 0.
    `array_mean`, `array_deviation`: of all elements together. `class_counts`: rows of each class.
    `target_mean`: of each target value.
    """

    rows: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    array_mean: float
    array_deviation: float
    class_counts: tuple[int, ...] = ()
    target_mean: tuple[float, ...] = ()


@computed
class Encoding:
    """Everything needed to turn a new file into the features that the network was trained on.

    `shape`: of one sample's features. `weight`: the column of weights. `statistics`: None only before preparation.
    """

    columns: tuple[Column, ...]
    shape: tuple[int, ...]
    target: Target
    weight: str | None = None
    statistics: Statistics | None = None
    missing_markers: tuple[str, ...] = ()
    delimiter: str = ","

    def check(self) -> None:
        """ValueError unless its parts fit together, as those of every encoding do that was made from data."""
        columns, target, widths = self.columns, self.target, [column.width for column in self.columns]
        whole = bool(columns) and min(*widths, *self.shape, target.outputs, 1) > 0
        whole = whole and sum(widths) == math.prod(self.shape) and bool(target.names)
        for column in columns:
            whole = whole and (column.kind != "category" or column.width == len(column.categories))
            whole = whole and (column.fill is None or len(column.fill) in (1, column.width))
        if target.kind == "classes":
            whole = whole and len(target.names) == 1 and target.outputs == len(target.classes) > 1
        if not whole or len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n\0':
            raise ValueError("the parts of its encoding don't fit together")

    def to_json(self) -> str:
        return json.dumps(self.to_object(), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Encoding":
        """Read what `to_json` wrote, bit for bit. Raises DataError if it is anything else."""
        try:
            return from_json(cls, text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"this is not an encoding of data: {str(error).splitlines()[0]}") from None

    def to_object(self) -> dict[str, object]:
        """The same as a JSON object."""
        return to_object(self)


_LONGEST_NUMBER = 40  # characters: whatever is longer is a name that happens to consist of digits
_INTEGER = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def canonical(label: str) -> str | None:
    """The one way to write a number, so that 3, 3.0 and 03 are one class; None if the label is not a number."""
    text = label.strip()
    if len(text) > _LONGEST_NUMBER:
        return None
    if _INTEGER.fullmatch(text):
        return str(int(text))
    if not _REAL.fullmatch(text):
        return None
    value = float(text)
    return str(int(value)) if value.is_integer() else repr(value)


def label_text(value: object) -> str:
    """The text of one element of an array of labels: the same as in a table, so that either can follow the other."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def ordered_labels(labels: set[str]) -> tuple[str, ...]:
    """Distinct labels in sorted order: in the order of numbers if all are numbers, by code point otherwise.

    >>> ordered_labels({"10", "9", "9.0"})
    ('9', '10')
    """
    numbers = [canonical(label) for label in labels]
    if all(number is not None for number in numbers):
        return tuple(sorted({number for number in numbers if number is not None}, key=float))
    return tuple(sorted(labels))


@dataclass(frozen=True)
class Labels:
    """Looks labels up: the code of `classes[n]`, however a number is written, is n."""

    classes: tuple[str, ...]

    def codes(self, labels: list[str]) -> list[int]:
        """The code of each label, -1 for an unknown one."""
        known = {label: code for code, label in enumerate(self.classes)}
        return [known.get(label, known.get(canonical(label) or label, -1)) for label in labels]
