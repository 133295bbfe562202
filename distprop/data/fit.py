"""Whether a network and its loss fit the data: known from the declarations and the encoding, before any rank starts."""

from collections.abc import Callable, Sequence

from distprop.config.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from distprop.config.run import Network
from distprop.data.dataset import Dataset
from distprop.data.encoding import Encoding, Target
from distprop.errors import ConfigError, DataError
from distprop.network.graph import Graph, build_graph

BLOCK_ROWS = 1 << 16


def fitting_graph(network: Network, encoding: Encoding) -> Graph:
    """The graph of a network for data of this encoding. ConfigError if shapes, outputs or class weights don't fit."""
    graph = build_graph(network.layers, encoding.shape)
    problem = _problem(network.loss, encoding.target, graph)
    if problem:
        raise ConfigError([problem])
    return graph


def check_targets(loss: Loss, data: Dataset, named: Callable[[Sequence[int]], str]) -> None:
    """DataError if a target is none that the loss is made for. named(rows): rows (from 0) as the user knows them."""
    if not isinstance(loss, BinaryCrossEntropy) or data.targets is None:
        return
    for first in range(0, len(data.targets), BLOCK_ROWS):
        block = data.targets[first : first + BLOCK_ROWS]
        outside = ((block < 0) | (block > 1)).any(axis=1)
        if outside.any():
            row = int(outside.argmax())
            raise DataError(
                f"{named([first + row])}: a target of {block[row].max():g} is no probability, but binary_cross_entropy "
                "takes values from 0 to 1; scale the targets, or use another loss"
            )


def _problem(loss: Loss, target: Target, graph: Graph) -> str:
    classes, units = len(target.classes), graph.outputs
    has = f"network.layers: the last layer, {graph.nodes[-1].name}, has {units} units"
    if isinstance(loss, SoftmaxCrossEntropy) and not classes:
        return "network.loss: softmax_cross_entropy needs class labels as targets (got real values)"
    if classes and units not in ({1, 2} if isinstance(loss, BinaryCrossEntropy) and classes == 2 else {classes}):
        return f"{has}, but the targets have {classes} classes: set units = {classes}"
    if not classes and units != target.outputs:
        return f"{has}, but a sample has {target.outputs} target values: set units = {target.outputs}"
    if loss.class_weights is not None and not classes:
        return "network.loss: class_weights need class labels as targets (got real values)"
    if isinstance(loss.class_weights, tuple) and len(loss.class_weights) != classes:
        return f"network.loss: {len(loss.class_weights)} class_weights, but the targets have {classes} classes"
    return ""
