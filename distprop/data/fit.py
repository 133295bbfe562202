"""Whether a network and its loss fit the data: known from the declarations and the encoding, before any rank starts."""

import math
from collections.abc import Iterator

import numpy as np

from distprop.config.data import Data
from distprop.config.layers import Dense
from distprop.config.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from distprop.config.problems import MisfitError, Problem, wrong
from distprop.config.run import Network
from distprop.data.encoding import Encoding, Target
from distprop.data.open_source import open_source
from distprop.data.prepare import Prepared
from distprop.data.source import Array
from distprop.errors import DataError
from distprop.network.graph import Graph, build_graph

MOST_WEIGHTS = 1 << 40  # of a layer: terabytes
BLOCK_ROWS = 1 << 18  # that are looked at together


def fitting_graph(network: Network, encoding: Encoding) -> Graph:
    """The graph of a network for data of this encoding. ConfigError if shapes, outputs or class weights don't fit."""
    graph = build_graph(network.layers, encoding.shape)
    loss, target = network.loss, encoding.target
    problems = [*_size_problems(graph), *_output_problems(loss, target, graph), *_weight_problems(loss, target)]
    if problems:
        raise MisfitError(problems)
    return graph


def check_values(data: Data, prepared: Prepared, loss: Loss) -> None:
    """DataError for a target that the loss has no meaning for, with its place."""
    if not isinstance(loss, BinaryCrossEntropy) or prepared.encoding.target.kind == "classes":
        return
    for split, path in ((prepared.training, data.train), (prepared.validation, data.validation or data.train)):
        targets = None if split is None else split.targets
        row = None if targets is None else row_outside_0_and_1(targets)
        if targets is not None and row is not None:
            source = open_source(path, data.missing_markers, data.delimiter)
            place = source.place(row, prepared.encoding.target.names[0])
            value = next(float(value) for value in targets[row] if not 0 <= value <= 1)
            raise DataError(f"{place}: the target is {value:g}, but {loss.type} takes values from 0 to 1")


def row_outside_0_and_1(targets: Array) -> int | None:
    """The first row of (R, K) values that has one below 0 or above 1."""
    for first in range(0, len(targets), BLOCK_ROWS):
        block = targets[first : first + BLOCK_ROWS]
        outside = ((block < 0) | (block > 1)).any(axis=1)
        if outside.any():
            return first + int(np.argmax(outside))
    return None


def _size_problems(graph: Graph) -> Iterator[Problem]:
    for node in graph.nodes:
        inputs = math.prod(node.input_shapes[0])
        if isinstance(node.layer, Dense) and inputs * node.layer.units > MOST_WEIGHTS:
            most = f"at most {MOST_WEIGHTS // inputs}, as it has {inputs} inputs: no machine holds more weights"
            path = ("network", "layers", node.number, "units")
            yield Problem(path, wrong("too large a layer", node.layer.units, most))
            return  # what reads it would only be said to be too large for the same reason


def _output_problems(loss: Loss, target: Target, graph: Graph) -> Iterator[Problem]:
    classes, units, last = len(target.classes), graph.outputs, graph.nodes[-1]
    key = ("units",) if hasattr(last.layer, "units") else ()
    path = ("network", "layers", last.number, *key)
    if isinstance(loss, SoftmaxCrossEntropy) and not classes:
        yield Problem(("network", "loss"), "softmax_cross_entropy needs classes (got targets that are values)")
    elif classes and units not in ({1, 2} if isinstance(loss, BinaryCrossEntropy) and classes == 2 else {classes}):
        yield Problem(path, wrong(f"the targets have {classes} classes: set units = {classes}", units, str(classes)))
    elif not classes and units != target.outputs:
        number = target.outputs
        yield Problem(path, wrong(f"a sample has {number} target values: set units = {number}", units, str(number)))


def _weight_problems(loss: Loss, target: Target) -> Iterator[Problem]:
    path, weights, classes = ("network", "loss", "class_weights"), loss.class_weights, len(target.classes)
    if weights is not None and not classes:
        yield Problem(path, "needs classes (got targets that are values)")
    elif isinstance(weights, tuple) and len(weights) != classes:
        yield Problem(path, wrong(f"the targets have {classes} classes", list(weights), f"{classes} numbers"))
