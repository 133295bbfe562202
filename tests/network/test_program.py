"""Whole networks against an independent implementation in NumPy, and against central differences; float64."""

import zlib

import numpy as np
import pytest

from distprop.comm.shards import canonical_nodes, shard_bounds
from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Standardise
from distprop.network.graph import build_graph
from distprop.network.layout import make_layout
from distprop.network.program import Buffers, Gradients, compile_program
from distprop.training.model import kernel_constants

FUNCTIONS = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu")
NETWORKS = {
    **{f"chain of {f}": ([Dense(7, f), Activation(f), Dense(5, f), Dense(3)], (6,)) for f in FUNCTIONS},
    "wide chain": ([Dense(70, "tanh"), Dense(33, "relu"), Dense(40, "leaky_relu"), Dense(10)], (65,)),
    "one unit": ([Dense(1, "tanh"), Dense(1)], (1,)),
    "without bias": ([Dense(7, "tanh", bias=False), Dense(5, bias=False), Dense(3, "sigmoid", bias=False)], (4,)),
    "images": ([Standardise(), Flatten(), Dense(5, "elu"), Dense(3)], (3, 4)),
    "standardise inside": ([Dense(5, "tanh"), Standardise(name="s"), Dense(3)], (4,)),
    "dropout": ([Dropout(0.2), Dense(9, "tanh"), Dropout(0.5), Dense(8, "relu"), Dropout(0.0), Dense(3)], (6,)),
    "residual": (
        [Dense(6, name="a"), Dense(6, "relu", name="b"), Dense(6, name="c"), Add(("a", "c")), Dense(3)],
        (5,),
    ),
    "used three times": (
        [
            Dense(4, "tanh", name="a"),
            Dense(4, "sigmoid", name="b", inputs=("a",)),
            Activation("silu", name="c", inputs=("a",)),
            Add(("a", "b", "c"), name="sum"),
            Concatenate(("sum", "a", "b")),
            Dense(3),
        ],
        (5,),
    ),
    "input used again": ([Dense(4, "tanh", name="a"), Concatenate(("input", "a")), Dense(4), Dense(3)], (5,)),
    "added to itself": ([Dense(3, "tanh", name="a"), Add(("a", "a"), name="b"), Add(("b", "a", "a"))], (5,)),
    "aliases": (
        [
            Dense(4, name="a"),
            Activation("identity", name="b"),
            Flatten(name="c"),
            Add(("a", "c"), name="d"),
            Activation("identity", name="e"),
            Concatenate(("e", "b"), name="f"),
            Dropout(0.0),
        ],
        (5,),
    ),
    "odd names": (
        [Dense(4, "tanh", name="a"), Dense(4, name="a.z"), Dense(4, name="d(a)"), Dense(3, name="scratch")],
        (5,),
    ),
}  # fmt: skip


def nodes_of_run(shards):
    """Shards of a rank in the middle: several nodes, as on many ranks."""
    return canonical_nodes((1, shards - 1), (0, shards)) if shards > 2 else ((0, shards),)


class Case:
    """A network bound to arrays that start as NaN, and what the program makes of them."""

    def __init__(self, oracle, name, rows, shards=1):
        layers, shape = NETWORKS[name]
        rng = np.random.default_rng(zlib.crc32(name.encode()) + rows)
        self.oracle, self.graph = oracle, build_graph(layers, shape)
        self.layers = [node.layer for node in self.graph.nodes]
        layout = make_layout(self.graph)
        self.params = layout.views(np.full(layout.length, np.nan))
        for array in self.params.values():
            array[...] = rng.normal(size=array.shape) / np.sqrt(array.shape[0])
        self.fixed = {}
        for node in self.graph.nodes:
            if isinstance(node.layer, Standardise):
                self.fixed[f"{node.name}.mean"] = rng.normal(size=int(np.prod(node.shape)))
                self.fixed[f"{node.name}.deviation"] = rng.uniform(0.5, 2, int(np.prod(node.shape)))
        nodes = nodes_of_run(shards)
        offsets = shard_bounds(rows, shards)
        first, last = offsets[nodes[0][0]], offsets[nodes[-1][1]]
        self.partials = [layout.views(np.full(layout.length, np.nan)) for _ in nodes]
        gradients = Gradients(
            partials=self.partials,
            bounds=[offsets[node[0] : node[1] + 1] - first for node in nodes],
            indices=rng.permutation(1000)[: last - first].astype(np.int64),
            clock=np.array([5], np.int64),
            seed=3,
        )
        self.buffers = Buffers(last - first + 2, np.float64)
        constants = kernel_constants(self.fixed, np.float64)
        self.program = compile_program(self.graph, self.params, constants, self.buffers, last - first, gradients)
        self.x = rng.normal(size=(last - first, *shape))
        self.program.input[:] = self.x.reshape(self.program.input.shape)
        self.dy = rng.normal(size=self.program.output.shape)

    def run(self):
        """The output and the gradients of all parameters, summed over the nodes."""
        self.program.run_forward()
        output = self.program.output.copy()
        self.program.output_gradient[:] = self.dy
        self.program.run_backward()
        return output, {name: sum(partial[name] for partial in self.partials) for name in self.params}

    def masks(self):
        """What the program drew, from its buffers."""
        rows, dropouts = len(self.x), [node for node in self.graph.nodes if isinstance(node.layer, Dropout)]
        return {
            node.name: self.buffers.whole(node.name, "mask", node.shape[0])[:rows] if node.layer.rate else 1.0
            for node in dropouts
        }

    def expected(self):
        values = self.oracle.forward(self.layers, self.params, self.x, self.fixed, self.masks())
        grads = self.oracle.backward(self.layers, self.params, values, self.dy, self.fixed, self.masks())
        return values[self.layers[-1].name], grads


def error(given, expected):
    """The largest difference, relative to the largest number."""
    scale = np.abs(expected).max(initial=0)
    return np.abs(given - expected).max(initial=0) / (scale or 1)


@pytest.mark.parametrize("rows", [0, 1, 3, 7])
@pytest.mark.parametrize("name", NETWORKS)
def test_output_and_gradients_are_those_of_the_independent_implementation(oracle, name, rows):
    case = Case(oracle, name, rows)
    for _ in range(2):  # the second run must not see the first one's gradients
        output, grads = case.run()
        expected_output, expected_grads = case.expected()
        assert error(output, expected_output) <= 1e-12
        assert expected_grads.keys() == grads.keys()
        for parameter, expected in expected_grads.items():
            assert error(grads[parameter], expected) <= 1e-12, parameter


@pytest.mark.parametrize("shards", [2, 7, 13])
@pytest.mark.parametrize("name", ["wide chain", "residual", "used three times", "dropout"])
def test_several_shards_and_nodes_give_the_same_sum(oracle, name, shards):
    for rows in (5, 29):
        case = Case(oracle, name, rows, shards)
        assert shards == 2 or len(case.partials) > 1
        _, grads = case.run()
        for parameter, expected in case.expected()[1].items():
            assert error(grads[parameter], expected) <= 1e-12, parameter


@pytest.mark.parametrize("name", [name for name in NETWORKS if "relu" not in name])
def test_gradients_are_those_of_central_differences(oracle, name):
    case = Case(oracle, name, 5)
    _, grads = case.run()
    rng, h = np.random.default_rng(4), 1e-5
    for parameter, array in case.params.items():
        direction = rng.normal(size=array.shape)
        objective = []
        for sign in (1, -1):
            array += sign * h * direction
            case.program.run_forward()
            objective.append(float((case.program.output * case.dy).sum()))
            array -= sign * h * direction
        difference = (objective[0] - objective[1]) / (2 * h)
        slope = float((grads[parameter] * direction).sum())
        assert abs(difference - slope) <= 1e-7 * max(abs(slope), np.abs(grads[parameter]).max()), parameter


def test_a_dropout_mask_belongs_to_step_and_sample(oracle):
    case = Case(oracle, "dropout", 7)
    case.run()
    first = {name: np.copy(mask) for name, mask in case.masks().items()}
    case.run()
    assert all(np.array_equal(mask, first[name]) for name, mask in case.masks().items())
    kept = first["dropout_2"]
    assert set(np.unique(kept)) == {0.0, 2.0}


def test_without_gradients_nothing_is_dropped_and_nothing_goes_back(oracle):
    case = Case(oracle, "dropout", 3)
    program = compile_program(case.graph, case.params, {}, Buffers(3, np.float64), 3)
    program.input[:] = case.x
    program.run_forward()
    expected = oracle.forward(case.layers, case.params, case.x)[case.layers[-1].name]
    assert program.backward == () and error(program.output, expected) <= 1e-12


def test_programs_of_fewer_rows_share_the_buffers_of_the_largest(oracle):
    case = Case(oracle, "residual", 7)
    fewer = compile_program(case.graph, case.params, {}, case.buffers, 3)
    assert np.shares_memory(fewer.output, case.program.output) and fewer.output.shape == (3, 3)


def test_a_program_says_what_it_does():
    layers = [
        Dense(4, "relu", name="a"),
        Dense(4, name="b"),
        Add(("a", "b"), name="c"),
        Dense(5, "leaky_relu", name="d"),
        Dense(2, "tanh", name="e"),
    ]
    graph = build_graph(layers, (3,))
    layout = make_layout(graph)
    params = layout.views(np.zeros(layout.length))
    bounds = [np.array([0, 2, 5])]
    gradients = Gradients([params], bounds, np.zeros(5, np.int64), np.zeros(1, np.int64), 0)
    program = compile_program(graph, params, {}, Buffers(5, np.float64), 5, gradients)
    assert (
        str(program)
        == """\
forward
  a = relu(dense_forward(input, a.weight, a.bias))    # (5, 3) @ (3, 4)
  b = dense_forward(a, b.weight, b.bias)    # (5, 4) @ (4, 4)
  c = add_forward(a, b)
  d = leaky_relu(dense_forward(c, d.weight, d.bias))    # (5, 4) @ (4, 5)
  e.z = dense_forward(d, e.weight, e.bias)    # (5, 5) @ (5, 2)
  e = tanh_forward(e.z)
backward
  d(e.z) = tanh_backward(d(e))
  d(e.weight), d(e.bias) = dense_backward_params(d, d(e.z))    # 2 shards, rows 0 to 5
  d(d.z) = leaky_relu_backward(dense_backward_input(d(e.z), e.weight))
  d(d.weight), d(d.bias) = dense_backward_params(c, d(d.z))    # 2 shards, rows 0 to 5
  d(c) = dense_backward_input(d(d.z), d.weight)
  d(a) = d(c)
  d(b.weight), d(b.bias) = dense_backward_params(a, d(b))    # 2 shards, rows 0 to 5
  more = dense_backward_input(d(b), b.weight)
  d(a) += more
  d(a.z) = relu_backward(d(a))
  d(a.weight), d(a.bias) = dense_backward_params(input, d(a.z))    # 2 shards, rows 0 to 5"""
    )
