"""The graph of a network: every layer with its inputs and the shape of one sample of its output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

from distprop.config.defaults import INPUT as INPUT
from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Layer, Standardise
from distprop.config.problems import MisfitError, Problem, wrong
from distprop.config.resolve import resolve_layers

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One layer in its place."""

    layer: Layer
    name: str
    number: int  # position in the network, from 0: part of the keys of its random numbers
    inputs: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    shape: Shape


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which each comes after its inputs; the last one is the network's output."""

    input_shape: Shape
    nodes: tuple[Node, ...]

    @property
    def outputs(self) -> int:
        return self.nodes[-1].shape[0]

    def consumers(self, name: str) -> int:
        """How many times other layers read a value."""
        return sum(node.inputs.count(name) for node in self.nodes)


def build_graph(layers: Sequence[Layer], input_shape: Shape) -> Graph:
    """The graph of `layers` for samples of shape `input_shape`; ConfigError where shapes don't fit."""
    shapes: dict[str, Shape] = {INPUT: tuple(input_shape)}
    nodes: list[Node] = []
    for number, layer in enumerate(resolve_layers(layers)):
        name = str(layer.name)
        unknown = [source for source in layer.inputs if source not in shapes]
        if unknown:
            _fail(number, f"no layer {unknown[0]!r} before it", "inputs")
        if name in shapes:
            _fail(number, f"the name {name!r} is taken", "name")
        inputs = tuple(shapes[source] for source in layer.inputs)
        shapes[name] = _output_shape(layer, number, inputs)
        nodes.append(Node(layer, name, number, layer.inputs, inputs, shapes[name]))
    if len(nodes[-1].shape) != 1:
        _fail(
            len(nodes) - 1, wrong("the output is no vector", nodes[-1].shape, "one axis; put a flatten layer before it")
        )
    return Graph(tuple(input_shape), tuple(nodes))


def _fail(number: int, problem: str, *key: str) -> NoReturn:
    raise MisfitError([Problem(("network", "layers", number, *key), problem)])


def _output_shape(layer: Layer, number: int, inputs: tuple[Shape, ...]) -> Shape:
    first = inputs[0]
    if isinstance(layer, Add | Concatenate):
        return _joined_shape(layer, number, inputs)
    if len(inputs) != 1:
        _fail(number, f"a {layer.type} layer has one input (got {len(inputs)})", "inputs")
    if isinstance(layer, Dense):
        if len(first) != 1:
            _fail(number, wrong("the input is no vector", first, "one axis; put a flatten layer before it"))
        return (layer.units,)
    if isinstance(layer, Flatten):
        return (math.prod(first),)
    assert isinstance(layer, Activation | Dropout | Standardise)
    return first


def _joined_shape(layer: Add | Concatenate, number: int, inputs: tuple[Shape, ...]) -> Shape:
    if len(inputs) < 2:
        _fail(number, f"{layer.type} needs two inputs or more (got {len(inputs)})", "inputs")
    if isinstance(layer, Concatenate):
        if any(len(shape) != 1 for shape in inputs):
            _fail(
                number,
                wrong("concatenate joins vectors", inputs, "one axis each; put flatten layers before it"),
                "inputs",
            )
        return (sum(shape[0] for shape in inputs),)
    if len(set(inputs)) != 1:
        _fail(number, wrong("add takes values of one shape", inputs, "equal shapes"), "inputs")
    return inputs[0]
