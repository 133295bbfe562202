"""The graph of a network: every layer with its inputs and the shape of one sample of its output."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from distprop.config.defaults import INPUT as INPUT
from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Layer, Standardise
from distprop.config.resolve import resolve_layers
from distprop.errors import ConfigError

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
        if unknown or name in shapes:
            raise ConfigError(
                [f"layer {name}: " + (f"no layer {unknown[0]!r} before it" if unknown else "the name is taken")]
            )
        inputs = tuple(shapes[source] for source in layer.inputs)
        shapes[name] = _output_shape(layer, name, inputs)
        nodes.append(Node(layer, name, number, layer.inputs, inputs, shapes[name]))
    if len(nodes[-1].shape) != 1:
        raise ConfigError(
            [f"layer {nodes[-1].name}: the network's output has shape {nodes[-1].shape}, expected one axis"]
        )
    return Graph(tuple(input_shape), tuple(nodes))


def _output_shape(layer: Layer, name: str, inputs: tuple[Shape, ...]) -> Shape:
    first = inputs[0]
    if isinstance(layer, Add | Concatenate):
        return _joined_shape(layer, name, inputs)
    if len(inputs) != 1:
        raise ConfigError([f"layer {name}: a {layer.type} layer has one input (got {len(inputs)})"])
    if isinstance(layer, Dense):
        if len(first) != 1:
            raise ConfigError([f"layer {name}: its input has shape {first}; put a flatten layer before it"])
        return (layer.units,)
    if isinstance(layer, Flatten):
        return (math.prod(first),)
    assert isinstance(layer, Activation | Dropout | Standardise)
    return first


def _joined_shape(layer: Add | Concatenate, name: str, inputs: tuple[Shape, ...]) -> Shape:
    if len(inputs) < 2:
        raise ConfigError([f"layer {name}: {layer.type} needs two inputs or more (got {len(inputs)})"])
    if isinstance(layer, Concatenate):
        if any(len(shape) != 1 for shape in inputs):
            raise ConfigError(
                [f"layer {name}: concatenate takes values with one axis (got {', '.join(map(str, inputs))})"]
            )
        return (sum(shape[0] for shape in inputs),)
    if len(set(inputs)) != 1:
        raise ConfigError([f"layer {name}: add takes values of one shape (got {', '.join(map(str, inputs))})"])
    return inputs[0]
