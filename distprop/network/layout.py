"""Where each layer's parameters lie in the flat vectors.

`params`, each partial gradient and each slot of the optimizer's state have one layout: the parameters of the layers in
order, each starting at a cache line. The few elements between them belong to nobody and stay zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.config.layers import Dense, Initializer
from distprop.network.graph import Graph, Shape

ALIGNMENT = 16  # elements: 64 bytes of float32


@dataclass(frozen=True)
class Parameter:
    """One named array inside a flat vector."""

    name: str  # "dense_1.weight"
    shape: Shape
    offset: int
    is_weight: bool  # weights are regularised, biases are not
    initializer: Initializer
    key: int  # of its random numbers

    @property
    def stop(self) -> int:
        return self.offset + math.prod(self.shape)

    def view(self, vector: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return vector[self.offset : self.stop].reshape(self.shape)


@dataclass(frozen=True)
class Layout:
    parameters: tuple[Parameter, ...]
    length: int  # elements of a flat vector

    def views(self, vector: npt.NDArray[np.floating]) -> dict[str, npt.NDArray[np.floating]]:
        """The parameters by name, as views into a flat vector (length,)."""
        return {parameter.name: parameter.view(vector) for parameter in self.parameters}

    def views_of(self, part: slice, vector: npt.NDArray[np.floating]) -> Iterator[tuple[str, int, npt.NDArray[Any]]]:
        """Of each parameter that has elements in a part of the flat vectors: its name, and whole rows that hold them.

        The number of the first row comes before the view of the rows into the vector (length,).
        """
        for parameter in self.parameters:
            first, last = max(part.start, parameter.offset), min(part.stop, parameter.stop)
            if first < last:
                size = math.prod(parameter.shape[1:])
                begin, end = (first - parameter.offset) // size, -(-(last - parameter.offset) // size)
                yield parameter.name, begin, parameter.view(vector)[begin:end]

    @property
    def count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.stop - parameter.offset for parameter in self.parameters)


def make_layout(graph: Graph) -> Layout:
    """The layout of a graph's parameters."""
    offset, parameters = 0, []
    for name, shape, is_weight, initializer, key in _declared(graph):
        parameters.append(Parameter(name, shape, offset, is_weight, initializer, key))
        offset = -(-parameters[-1].stop // ALIGNMENT) * ALIGNMENT
    return Layout(tuple(parameters), offset)


def _declared(graph: Graph) -> Iterator[tuple[str, Shape, bool, Initializer, int]]:
    for node in graph.nodes:
        layer = node.layer
        if not isinstance(layer, Dense):
            continue
        assert layer.initializer is not None  # layers are resolved
        yield f"{node.name}.weight", (*node.input_shapes[0], layer.units), True, layer.initializer, 2 * node.number
        if layer.bias:
            yield f"{node.name}.bias", (layer.units,), False, layer.bias_initializer, 2 * node.number + 1
