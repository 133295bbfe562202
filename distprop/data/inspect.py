"""A look at data without preparing them: their encoding, and a few lines that describe it."""

from distprop.config.data import Data
from distprop.data.encoding import Encoding
from distprop.data.open_source import open_source
from distprop.data.source import quoted
from distprop.data.survey import survey


def encoding_of(data: Data) -> Encoding:
    """How the training data would be encoded: shapes, categories, classes; no statistics. Raises DataError."""
    return survey(open_source(data.train, data.missing_markers, data.delimiter), data)


def summary(encoding: Encoding) -> list[str]:
    """The features, the target and the weights, a line each, for people."""
    shape = " × ".join(str(length) for length in encoding.shape)
    lines = [f"features: {shape} ({_columns(encoding)})", f"target: {_target(encoding)}"]
    if encoding.weight is not None:
        lines.append(f"weights: column {encoding.weight}")
    if encoding.statistics is not None:
        lines.insert(0, f"training rows: {encoding.statistics.rows:,}")
    return lines


def _columns(encoding: Encoding) -> str:
    parts = []
    for kind in ("number", "category", "array"):
        names = [column.name for column in encoding.columns if column.kind == kind]
        if names:
            parts.append(f"{len(names)} {kind} column{'s' * (len(names) > 1)}: {quoted(names, 6)}")
    return "; ".join(parts)


def _target(encoding: Encoding) -> str:
    target = encoding.target
    if target.kind == "classes":
        return f"{len(target.classes)} classes from {target.names[0]}: {quoted(target.classes)}"
    return f"{target.outputs} {'value' if target.outputs == 1 else 'values'}: {quoted(target.output_names)}"
