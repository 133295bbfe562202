"""Whether a network and its loss fit the data: known from the declarations and the encoding, before any rank starts."""

from distprop.config.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from distprop.config.run import Network
from distprop.data.encoding import Encoding, Target
from distprop.errors import ConfigError
from distprop.network.graph import Graph, build_graph


def fitting_graph(network: Network, encoding: Encoding) -> Graph:
    """The graph of a network for data of this encoding. ConfigError if shapes, outputs or class weights don't fit."""
    graph = build_graph(network.layers, encoding.shape)
    problem = _problem(network.loss, encoding.target, graph)
    if problem:
        raise ConfigError([problem])
    return graph


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
