"""A network becomes a program: two lists of kernel calls with their arrays already bound.

Running a step is running the lists. `backward` is the chain rule made visible: for each forward call, in reverse, the
calls that turn the gradient of its output into the gradients of its inputs and parameters. Where a value feeds several
layers, the gradients that come back are summed. Every value is a matrix: rows are samples, columns the elements of one
sample.    d(name) stands for the gradient of the loss with respect to the value `name`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Standardise
from distprop.kernels import activations, dense, dropout, elementwise, memory
from distprop.kernels.tape import Call
from distprop.network.graph import INPUT, Graph, Node

Array: TypeAlias = npt.NDArray[Any]


class Buffers:
    """Arrays by name, made once for the most rows that a program will have, and shared by programs for fewer.

    zeros: makes them; where it gives ranks the same memory, each rank has rows of its own of every matrix.
    """

    def __init__(self, rows: int, dtype: npt.DTypeLike, zeros: Callable[..., Array] = memory.zeros) -> None:
        self.rows = rows
        self.dtype = np.dtype(dtype)
        self._zeros = zeros
        self._arrays: dict[tuple[str, str], Array] = {}
        self._scratch = memory.zeros((0,), dtype)

    def whole(self, name: str, kind: str, columns: int) -> Array:
        """A matrix that belongs to the value `name`."""
        if (name, kind) not in self._arrays:
            self._arrays[name, kind] = self._zeros((self.rows, columns), self.dtype)
        return self._arrays[name, kind]

    def matrices(self, rows: slice) -> list[tuple[str, str, Array]]:
        """Name, kind and some rows of all matrices, in the order in which they are first written."""
        return [(name, kind, array[rows]) for (name, kind), array in self._arrays.items()]

    def scratch(self, elements: int) -> Array:
        """Room for a kernel's intermediate results, at least so many elements."""
        if self._scratch.size < elements:
            self._scratch = memory.zeros((elements,), self.dtype)
        return self._scratch


@dataclass(frozen=True)
class Gradients:
    """What a backward pass needs besides the network.

    partials: for each node of the tree over shards, the parameters' gradients by name (views into a flat vector).
    bounds: for each of these nodes, the row offsets (k + 1,) of its k shards.
    indices (rows,) int64: which sample a row holds; clock (1,) int64: the step. These key the dropout masks.
    blocks: weights that are exchanged block by block: where the blocks of rows begin, from 0, and end, by name.
    first: the program's first row in the buffers. begins: where ranks share their buffers' memory, so that each can
    compute its part of the gradient from the rows of all: for each parameter of that part, its first row or element;
    `bounds` count the buffers' rows then.
    """

    partials: Sequence[Mapping[str, Array]]
    bounds: Sequence[Array]
    indices: Array
    clock: Array
    seed: int
    blocks: Mapping[str, Sequence[int]] = field(default_factory=dict)
    first: int = 0
    begins: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Program:
    """A network on a number of rows: fill `input`, run forward, fill `output_gradient`, run backward.

    gradient: where ranks share it, the calls for this rank's part, to be made when all have run backward.
    """

    input: Array
    output: Array
    output_gradient: Array
    forward: tuple[Call, ...]
    backward: tuple[Call, ...]
    gradient: tuple[Call, ...] = ()

    def run_forward(self) -> None:
        for call in self.forward:
            call.kernel(*call.arguments)

    def run_backward(self) -> None:
        for call in self.backward:
            call.kernel(*call.arguments)

    def __str__(self) -> str:
        lines = ["forward", *(f"  {call}" for call in self.forward)]
        return "\n".join([*lines, "backward", *(f"  {call}" for call in self.backward)] if self.backward else lines)


def compile_program(
    graph: Graph,
    params: Mapping[str, Array],
    constants: Mapping[str, Array],
    buffers: Buffers,
    rows: int,
    gradients: Gradients | None = None,
) -> Program:
    """The program for `rows` samples: with `gradients` it trains (dropout on, backward calls), else it predicts."""
    return _Compiler(graph, params, constants, buffers, rows, gradients).program()


@dataclass
class _Compiler:
    graph: Graph
    params: Mapping[str, Array]
    constants: Mapping[str, Array]
    buffers: Buffers
    rows: int
    gradients: Gradients | None
    values: dict[str, Array] = field(default_factory=dict)
    slopes: dict[str, Array] = field(default_factory=dict)  # d(name), once a call has written it
    z_slopes: dict[str, Array] = field(default_factory=dict)  # d(name.z), where it is written without d(name)
    wholes: dict[int, tuple[Array, Array]] = field(default_factory=dict)  # by id: rows, and the matrix they are of
    gradient_calls: list[Call] = field(default_factory=list)

    def program(self) -> Program:
        self.values[INPUT] = self.matrix(INPUT, math.prod(self.graph.input_shape))
        forward = tuple(call for node in self.graph.nodes for call in self.forward_calls(node))
        output = self.graph.nodes[-1]
        self.slopes[output.name] = self.matrix(output.name, math.prod(output.shape), "gradient")
        backward: list[Call] = []
        if self.gradients:
            learning = self.learning_values()
            for node in reversed(self.graph.nodes):
                if node.name in learning:
                    backward += [replace(call, phase="backward") for call in self.backward_calls(node, learning)]
        calls = forward, tuple(backward), tuple(self.gradient_calls)
        return Program(self.values[INPUT], self.values[output.name], self.slopes[output.name], *calls)

    def matrix(self, name: str, columns: int, kind: str = "value") -> Array:
        whole, first = self.buffers.whole(name, kind, columns), self.gradients.first if self.gradients else 0
        rows = whole[first : first + self.rows]
        self.wholes[id(rows)] = rows, whole
        return rows

    def learning_values(self) -> set[str]:
        """Values whose gradient is needed: those that depend on a parameter."""
        learning: set[str] = set()
        for node in self.graph.nodes:
            if isinstance(node.layer, Dense) or learning.intersection(node.inputs):
                learning.add(node.name)
        return learning

    def forward_calls(self, node: Node) -> Iterator[Call]:
        layer, (x, *others) = node.layer, [self.values[name] for name in node.inputs]
        if isinstance(layer, Flatten) or (isinstance(layer, Dropout) and (not self.gradients or layer.rate == 0)):
            self.values[node.name] = x
            return
        if isinstance(layer, Activation) and layer.function == "identity":
            self.values[node.name] = x
            return
        y = self.values[node.name] = self.matrix(node.name, math.prod(node.shape))
        if isinstance(layer, Dense):
            yield from self.dense_forward(node, layer, y, x)
        elif isinstance(layer, Activation):
            yield self.activation_forward(layer.function, y, x, node.name, node.inputs[0])
        elif isinstance(layer, Dropout):
            yield self.dropout_forward(node, layer, y, x)
        elif isinstance(layer, Standardise):
            mean, inverse = self.constants[f"{node.name}.mean"], self.constants[f"{node.name}.inverse"]
            text = f"{node.name} = standardise_forward({node.inputs[0]}, {node.name}.mean, {node.name}.inverse)"
            yield Call(elementwise.standardise_forward, (y, x, mean, inverse), text)
        elif isinstance(layer, Add):
            yield Call(
                elementwise.add_forward, (y, x, others[0]), f"{node.name} = add_forward({', '.join(node.inputs[:2])})"
            )
            for name, other in zip(node.inputs[2:], others[1:], strict=True):
                yield Call(elementwise.accumulate, (y, other), f"{node.name} += {name}")
        else:
            assert isinstance(layer, Concatenate)
            for name, part, first in self.columns(node):
                text = f"{node.name}[:, {first}:{first + part.shape[1]}] = {name}"
                yield Call(elementwise.copy_into_columns, (y, part, first), text)

    def columns(self, node: Node) -> Iterator[tuple[str, Array, int]]:
        """The parts of a concatenation, each with its first column."""
        first = 0
        for name in node.inputs:
            yield name, self.values[name], first
            first += self.values[name].shape[1]

    def scratch(self, node: Node) -> Array:
        all_bounds = self.gradients.bounds if self.gradients else ()
        rows = max([self.rows, *(int(bounds[-1] - bounds[0]) for bounds in all_bounds)])
        sizes = rows, node.input_shapes[0][0], node.shape[0], max([1, *(len(bounds) - 1 for bounds in all_bounds)])
        return self.buffers.scratch(dense.scratch_elements(*sizes, self.buffers.dtype))

    def dense_forward(self, node: Node, layer: Dense, y: Array, x: Array) -> Iterator[Call]:
        """Most activations are a call of their own, from z to y; those that a product can apply itself need no z."""
        fused = layer.activation in dense.FUSED
        f, z, z_name = layer.activation, y, node.name
        if not fused:
            f, z, z_name = "identity", self.matrix(node.name, layer.units, "z"), f"{node.name}.z"
        w, w_name = self.params[f"{node.name}.weight"], f"{node.name}.weight"
        for begin, end in self.blocks_of(node):
            f_here, part = f if end == len(w) else "identity", w[begin:end]
            shapes = f"    # ({self.rows}, {end - begin}) @ {part.shape}"
            name = f"{node.inputs[0]}, {w_name}{_rows(begin, end, w)}"
            rest = (dense.FUSED[f_here], self.scratch(node))
            if begin:
                text = _applied(f_here, f"dense_forward_more({z_name}, {name})")
                yield Call(dense.dense_forward_more, (z, x, part, begin, *rest), f"{z_name} = {text}{shapes}")
            elif layer.bias:
                text = _applied(f_here, f"dense_forward({name}, {node.name}.bias)")
                b = self.params[f"{node.name}.bias"]
                yield Call(dense.dense_forward, (z, x, part, b, *rest), f"{z_name} = {text}{shapes}")
            else:
                text = _applied(f_here, f"dense_forward_without_bias({name})")
                yield Call(dense.dense_forward_without_bias, (z, x, part, *rest), f"{z_name} = {text}{shapes}")
        if not fused:
            yield self.activation_forward(layer.activation, y, z, node.name, z_name)

    def blocks_of(self, node: Node) -> list[tuple[int, int]]:
        """The blocks of rows of a layer's weight."""
        blocks = self.gradients.blocks if self.gradients else {}
        return list(pairwise(blocks.get(f"{node.name}.weight", (0, math.prod(node.input_shapes[0])))))

    def activation_forward(self, function: str, y: Array, x: Array, y_name: str, x_name: str) -> Call:
        return Call(activations.FORWARD[function], (y.ravel(), x.ravel()), f"{y_name} = {function}_forward({x_name})")

    def dropout_forward(self, node: Node, layer: Dropout, y: Array, x: Array) -> Call:
        assert self.gradients
        mask = self.matrix(node.name, x.shape[1], "mask")
        keys = (self.gradients.indices[: self.rows], self.gradients.clock, self.gradients.seed, node.number, layer.rate)
        text = f"{node.name}, {node.name}.mask = dropout_forward({node.inputs[0]}, rate={layer.rate})"
        return Call(dropout.dropout_forward, (y, mask, x, *keys), text)

    def backward_calls(self, node: Node, learning: set[str]) -> Iterator[Call]:
        layer, wanted = node.layer, [name for name in node.inputs if name in learning]
        if isinstance(layer, Dense):
            yield from self.dense_backward(node, layer, wanted)
            return
        dy = self.slopes[node.name]
        if isinstance(layer, Concatenate):
            for name, part, first in self.columns(node):
                if name in learning:
                    copy = f"copy_from_columns(d({node.name}), {first}, {first + part.shape[1]})"
                    yield from self.into(name, copy, _copy_columns(dy, first))
        elif wanted and (isinstance(layer, Add) or self.values[node.name] is self.values[node.inputs[0]]):
            for name in wanted:
                yield from self.pass_on(name, node.name, dy)
        elif wanted:
            yield from self.into(wanted[0], *self.elementwise_backward(node, dy))

    def elementwise_backward(self, node: Node, dy: Array) -> tuple[str, Callable[[Array], tuple[Any, tuple[Any, ...]]]]:
        """The call that makes the gradient of a one-input layer's input, given the array to write it into."""
        layer, x, y = node.layer, self.values[node.inputs[0]], self.values[node.name]
        if isinstance(layer, Activation):
            kernel = activations.BACKWARD[layer.function]
            text = f"{layer.function}_backward(d({node.name}))"
            return text, lambda dx: (kernel, (dx.ravel(), dy.ravel(), x.ravel(), y.ravel()))
        if isinstance(layer, Dropout):
            mask = self.matrix(node.name, x.shape[1], "mask")
            return f"dropout_backward(d({node.name}), {node.name}.mask)", lambda dx: (
                dropout.dropout_backward,
                (dx, dy, mask),
            )
        assert isinstance(layer, Standardise)
        inverse = self.constants[f"{node.name}.inverse"]
        text = f"standardise_backward(d({node.name}), {node.name}.inverse)"
        return text, lambda dx: (elementwise.standardise_backward, (dx, dy, inverse))

    def dense_backward(self, node: Node, layer: Dense, wanted: list[str]) -> Iterator[Call]:
        assert self.gradients
        x, dz, dz_name = self.values[node.inputs[0]], self.z_slopes.get(node.name), f"d({node.name}.z)"
        if layer.activation == "identity":
            dz, dz_name = self.slopes[node.name], f"d({node.name})"
        elif dz is None:
            dz = self.matrix(node.name, layer.units, "gradient of z")
            y = self.values[node.name]
            z = y if layer.activation in dense.FUSED else self.matrix(node.name, layer.units, "z")
            arrays = (dz.ravel(), self.slopes[node.name].ravel(), z.ravel(), y.ravel())
            text = f"{dz_name} = {layer.activation}_backward(d({node.name}))"
            yield Call(activations.BACKWARD[layer.activation], arrays, text)
        for views, bounds in zip(self.gradients.partials, self.gradients.bounds, strict=True):
            if self.gradients.begins is None:
                yield from self.block_gradients(node, layer, x, dz, dz_name, views, bounds)
            elif any(name.startswith(f"{node.name}.") for name in self.gradients.begins):
                wholes = self.wholes[id(x)][1], self.wholes[id(dz)][1]
                call = self.dense_backward_params(node, *wholes, dz_name, views, self.gradients.begins, bounds)
                self.gradient_calls.append(replace(call, phase="backward"))
        if wanted:
            yield from self.dense_backward_input(node, x, dz, dz_name, wanted[0])

    def dense_backward_input(self, node: Node, x: Array, dz: Array, dz_name: str, name: str) -> Iterator[Call]:
        """The gradient of the layer's input x, the value `name`; and through the activation that made x, if fused."""
        f, w, scratch = self.fused_activation(name), self.params[f"{node.name}.weight"], self.scratch(node)
        text = f"dense_backward_input({dz_name}, {node.name}.weight)"
        if f == "identity":
            arguments = (dz, w, x, dense.FUSED[f], scratch)
            yield from self.into(name, text, lambda dx: (dense.dense_backward_input, (dx, *arguments)))
            return
        dx = self.z_slopes[name] = self.matrix(name, x.shape[1], "gradient of z")
        text = f"d({name}.z) = {f}_backward({text})"
        yield Call(dense.dense_backward_input, (dx, dz, w, x, dense.FUSED[f], scratch), text)

    def fused_activation(self, name: str) -> str:
        """What the gradient of a value can be taken through together with the product that makes it."""
        for node in self.graph.nodes:
            if node.name == name and isinstance(node.layer, Dense) and self.graph.consumers(name) == 1:
                return node.layer.activation if node.layer.activation in dense.FUSED else "identity"
        return "identity"

    def block_gradients(
        self, node: Node, layer: Dense, x: Array, dz: Array, dz_name: str, views: Mapping[str, Array], bounds: Array
    ) -> Iterator[Call]:
        """Block by block, the last one first, as the exchange sends them; that of the bias with it."""
        weight, bias = f"{node.name}.weight", f"{node.name}.bias"
        for begin, end in reversed(self.blocks_of(node)):
            dw = views[weight]
            part = {weight: dw[begin:end]} | ({bias: views[bias]} if layer.bias and end == len(dw) else {})
            call = self.dense_backward_params(node, x, dz, dz_name, part, {weight: begin}, bounds)
            yield replace(call, text=call.text.replace(f"{weight})", f"{weight}{_rows(begin, end, dw)})", 1))

    def dense_backward_params(
        self,
        node: Node,
        x: Array,
        dz: Array,
        dz_name: str,
        views: Mapping[str, Array],
        begins: Mapping[str, int],
        bounds: Array,
    ) -> Call:
        """For those rows of the weight's gradient, and elements of the bias's, that there are views of."""
        weight, bias, inputs = f"{node.name}.weight", f"{node.name}.bias", f"({node.inputs[0]}, {dz_name})"
        shards = f"    # {len(bounds) - 1} shards, rows {bounds[0]} to {bounds[-1]}"
        dw = views.get(weight, np.zeros((0, dz.shape[1]), self.buffers.dtype))
        names, begin, rest = f"d({weight})", begins.get(weight, 0), (bounds, self.scratch(node))
        if bias not in views:
            text = f"{names} = dense_backward_weights{inputs}{shards}"
            return Call(dense.dense_backward_weights, (dw, x, dz, begin, *rest), text)
        text = f"{names}, d({bias}) = dense_backward_params{inputs}{shards}"
        return Call(dense.dense_backward_params, (dw, views[bias], x, dz, begin, begins.get(bias, 0), *rest), text)

    def into(
        self, name: str, text: str, make: Callable[[Array], tuple[Callable[..., Any], tuple[Any, ...]]]
    ) -> Iterator[Call]:
        """Write a gradient of the value `name`; where one has been written already, add to it."""
        columns = self.values[name].shape[1]
        if name not in self.slopes:
            self.slopes[name] = self.matrix(name, columns, "gradient")
            yield Call(*make(self.slopes[name]), f"d({name}) = {text}")
            return
        more = self.matrix(name, columns, "more gradient")
        yield Call(*make(more), f"more = {text}")
        yield Call(elementwise.accumulate, (self.slopes[name], more), f"d({name}) += more")

    def pass_on(self, name: str, source: str, dy: Array) -> Iterator[Call]:
        """d(name) = d(source): the same array where nothing else will be added to it, else a copy."""
        if self.graph.consumers(name) == 1:
            self.slopes[name] = dy
        elif name in self.slopes:
            yield Call(elementwise.accumulate, (self.slopes[name], dy), f"d({name}) += d({source})")
        else:
            self.slopes[name] = self.matrix(name, dy.shape[1], "gradient")
            yield Call(elementwise.copy_into_columns, (self.slopes[name], dy, 0), f"d({name}) = d({source})")


def _rows(begin: int, end: int, matrix: Array) -> str:
    """How some rows of a matrix are written, nothing if they are all."""
    return "" if (begin, end) == (0, len(matrix)) else f"[{begin}:{end}]"


def _applied(function: str, text: str) -> str:
    """The text of a function of something, where the identity goes without saying."""
    return text if function == "identity" else f"{function}({text})"


def _copy_columns(dy: Array, first: int) -> Callable[[Array], tuple[Any, tuple[Any, ...]]]:
    return lambda dx: (elementwise.copy_from_columns, (dx, dy, first))
