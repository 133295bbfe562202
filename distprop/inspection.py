"""Questions about a run or a configuration: how good the model is, what it predicts, what it consists of."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from distprop.comm.serial import Serial
from distprop.comm.shards import shard_bounds
from distprop.config import load_config, located, resolve
from distprop.config.data import Arrays
from distprop.config.run import Config
from distprop.data.dataset import Dataset
from distprop.data.fit import fitting_graph
from distprop.data.inspect import encoding_of, summary
from distprop.data.predictions import check_output, write_predictions
from distprop.data.prepare import encode_file
from distprop.data.split import Split
from distprop.errors import UsageError
from distprop.network.graph import Graph
from distprop.network.layout import Layout, make_layout
from distprop.network.program import Array, Buffers, Gradients, Program, compile_program
from distprop.run_directory import RunDirectory
from distprop.training.evaluation import Evaluator
from distprop.training.model import Model, load_model
from distprop.training.targets import Target

CHUNK_ROWS = 4096


def open_model(path: Path) -> Model:
    """The model of a finished run, or of a model file by itself. Raises UsageError, CheckpointError."""
    if path.is_file():
        return load_model(path)
    run = RunDirectory.open(path)
    if not run.model.exists():
        raise UsageError(f"{path}: this run has no model yet; continue it with: distprop resume {path}")
    return load_model(run.model)


def evaluate(path: Path, features: Path, targets: Path | None = None, weights: Path | None = None) -> dict[str, Any]:
    """Measure a model on a table, or on files with one array each; the numbers by name. Raises DataError."""
    model = open_model(path)
    if targets:
        files = Arrays(str(features), str(targets), str(weights) if weights else None)
        split = encode_file(files, model.encoding, model.dtype.name, need_targets=True)
    else:
        split = encode_file(str(features), model.encoding, model.dtype.name, need_targets=True)
    return evaluate_on(model, Dataset.open(split))


def evaluation_text(result: dict[str, Any]) -> str:
    """An evaluation for people: a line a number, and the confusion matrix as a table."""
    result = dict(result)
    confusion, classes = result.pop("confusion", None), result.pop("classes", ())
    lines = [
        f"{name:20}  {value:.6g}" if isinstance(value, float) else f"{name:20}  {value}"
        for name, value in result.items()
    ]
    if confusion is None:
        return "\n".join(lines)
    rows = [["true \\ predicted", *classes], *([name, *row] for name, row in zip(classes, confusion, strict=True))]
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(f"{cell!s:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, *table])


def evaluate_on(model: Model, data: Dataset, top_k: int = 5) -> dict[str, Any]:
    """Numbers by name: "rows", "loss" and the others; for classes also "classes" and the "confusion" matrix."""
    target = Target(model.network.loss, model.encoding.target, model.graph.outputs)
    weights = target.class_weights(model.encoding, model.dtype)
    evaluator = Evaluator(
        model.graph, model.named(), model.constants(), data, target, Serial(), model.dtype, weights, top_k
    )
    found = evaluator.run()
    result: dict[str, Any] = {"rows": len(data), **found.numbers}
    return (
        result
        if found.confusion is None
        else result | {"classes": list(model.encoding.target.classes), "confusion": found.confusion.tolist()}
    )


def predict(path: Path, source: Path, output: Path) -> int:
    """Write a model's predictions for a file (targets may be absent) as .csv or .npy; the number of rows."""
    check_output(output, source)
    model = open_model(path)
    split = encode_file(str(source), model.encoding, model.dtype.name, need_targets=False)
    return write_predictions(output, model.encoding, _chunks(model, split))


def _chunks(model: Model, split: Split) -> Iterator[Array]:
    features = split.features
    for first in range(0, len(features), CHUNK_ROWS):
        yield model.outputs(features[first : first + CHUNK_ROWS])


def digest(path: Path) -> str:
    """SHA-256 of a model's parameters."""
    return open_model(path).digest()


def describe(path: Path) -> str:
    """Data, layers with shapes and parameter counts, and the program of a step: of a configuration file or a run."""
    if path.is_dir():
        run = RunDirectory.open(path)
        config = load_config(run.config, check_files=False)
        encoding = load_model(run.model).encoding if run.model.exists() else encoding_of(config.data)
    else:
        config = resolve(load_config(path), path.parent)
        encoding = encoding_of(config.data)
    with located(run.config if path.is_dir() else path):
        graph = fitting_graph(config.network, encoding)
    layout = make_layout(graph)
    program = _program_of(config, graph, layout)
    lines = [*summary(encoding), "", *_table(graph, layout), "", "forward", *(f"  {call}" for call in program.forward)]
    lines += [f"loss\n  {config.network.loss.type}({graph.nodes[-1].name}, targets), d({graph.nodes[-1].name})"]
    return "\n".join([*lines, "backward", *(f"  {call}" for call in program.backward)])


def _table(graph: Graph, layout: Layout) -> list[str]:
    """One line a layer."""
    counts: dict[str, int] = {}
    for parameter in layout.parameters:
        layer = parameter.name.rsplit(".", 1)[0]
        counts[layer] = counts.get(layer, 0) + math.prod(parameter.shape)
    rows = [("layer", "type", "inputs", "output", "parameters")]
    for node in graph.nodes:
        kind = f"{node.layer.type} {getattr(node.layer, 'activation', getattr(node.layer, 'function', ''))}".strip()
        shape = " × ".join(map(str, node.shape))
        rows.append((node.name, kind, ", ".join(node.inputs), shape, f"{counts.get(node.name, 0):,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows
    ]
    return [*lines, f"{layout.count:,} parameters"]


def _program_of(config: Config, graph: Graph, layout: Layout) -> Program:
    """The program of a whole minibatch on one rank, as training would run it."""
    rows, shards = config.training.batch_size, config.training.shards
    assert shards is not None
    gradients = Gradients(
        partials=[layout.views(np.zeros(layout.length, config.dtype))],
        bounds=[shard_bounds(rows, shards)],
        indices=np.zeros(rows, np.int64),
        clock=np.zeros(1, np.int64),
        seed=config.seed,
    )
    params = layout.views(np.zeros(layout.length, config.dtype))
    constants: dict[str, Array] = {}
    for node in graph.nodes:
        features = np.zeros(math.prod(node.shape), config.dtype)
        constants |= {f"{node.name}.mean": features, f"{node.name}.inverse": features}
    return compile_program(graph, params, constants, Buffers(rows, config.dtype), rows, gradients)
