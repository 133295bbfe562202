"""Graphs: shapes from layer to layer, and errors that name the layer."""

import pytest

from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Standardise
from distprop.errors import ConfigError
from distprop.network.graph import build_graph


def test_shapes_follow_the_layers():
    graph = build_graph(
        [
            Standardise(),
            Flatten(),
            Dense(5, name="a"),
            Activation("tanh", inputs=("a",), name="b"),
            Add(("a", "b")),
            Concatenate(("a", "add_1", "b")),
            Dropout(0.5),
            Dense(2),
        ],
        (3, 4),
    )
    shapes = {node.name: node.shape for node in graph.nodes}
    assert shapes == {
        "standardise_1": (3, 4), "flatten_1": (12,), "a": (5,), "b": (5,), "add_1": (5,), "concatenate_1": (15,),
        "dropout_1": (15,), "dense_2": (2,),
    }  # fmt: skip
    assert graph.outputs == 2 and [node.number for node in graph.nodes] == list(range(8))
    assert graph.consumers("a") == 3 and graph.consumers("dense_2") == 0


def test_a_value_read_twice_by_one_layer_counts_twice():
    assert build_graph([Dense(3, name="a"), Add(("a", "a"))], (2,)).consumers("a") == 2


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([Dense(3, name="a", inputs=("b",))], (2,), "network.layers.0.inputs: no layer 'b' before it"),
        ([Dense(3, name="a"), Dense(3, name="a")], (2,), "network.layers.1.name: the name 'a' is taken"),
        ([Dense(3, name="input")], (2,), "network.layers.0.name: the name 'input' is taken"),
        (
            [Dense(3, name="wide")],
            (2, 5),
            r"layers.0: the input is no vector \(got \[2, 5\], .* put a flatten layer before it",
        ),
        ([Activation("relu", name="a")], (2, 5), r"layers.0: the output is no vector \(got \[2, 5\], expected one"),
        (
            [Dense(3), Dropout(0.1, inputs=("input", "dense_1"), name="a")],
            (2,),
            r"layers.1.inputs: .* one input \(got 2\)",
        ),
        ([Dense(3), Add(("dense_1",), name="a")], (2,), r"layers.1.inputs: add needs two inputs or more \(got 1\)"),
        (
            [Dense(3), Add(("input", "dense_1"), name="a")],
            (2,),
            r"layers.1.inputs: add .* one shape \(got \[\[2\], \[3\]\]",
        ),
        ([Concatenate(("input", "input"), name="a")], (2, 2), r"layers.0.inputs: concatenate joins vectors"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_layer(layers, shape, message):
    with pytest.raises(ConfigError, match=message):
        build_graph(layers, shape)
