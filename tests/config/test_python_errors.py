"""Mistakes in declarations that are made in Python."""

from collections.abc import Callable
from typing import Any

import pytest

from distprop.config.data import Columns, Data
from distprop.config.layers import Activation, Dense
from distprop.config.losses import Huber
from distprop.config.optimizers import SGD, Adam
from distprop.config.run import Network, Training
from distprop.errors import ConfigError

LOSSES = "MeanSquaredError, MeanAbsoluteError, Huber, BinaryCrossEntropy or SoftmaxCrossEntropy"
LAYERS = "Dense, Activation, Dropout, Flatten, Standardise, Add or Concatenate"

CASES: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[str]]] = [
    (Dense, (-1,), {}, ["Dense: units: out of range (got -1, expected an integer >= 1)"]),
    (Dense, (), {}, ["Dense: units: missing (expected an integer >= 1)"]),
    (Dense, (3.5,), {"bias": 1}, [
        "Dense: units: wrong type (got 3.5, expected an integer >= 1)",
        "Dense: bias: wrong type (got 1, expected true or false)",
    ]),
    (Dense, (3,), {"unit": 4}, [
        'Dense: unit: unknown field; did you mean "units"? '
        "(expected one of units, activation, initializer, bias, bias_initializer, name, inputs, type)",
    ]),
    (SGD, (1.0, 2.0), {}, [
        "SGD: too many positional arguments "
        "(expected l1, l2, weight_decay, clip_norm, clip_value, learning_rate, type)",
    ]),
    (Adam, (float("nan"),), {}, ["Adam: learning_rate: not finite (got nan, expected a number > 0)"]),
    (Columns, (("a", 2),), {}, ["Columns: features.1: wrong type (got 2, expected a list of texts)"]),
    (Training, (), {"monitor": "los"}, [
        'Training: monitor: unknown value; did you mean "loss"? '
        '(got "los", expected "auto", "loss", "validation_loss" or "validation_accuracy")',
    ]),
    (Data, (3,), {}, ["Data: train: wrong type (got 3, expected text or Arrays)"]),
    (Network, ([], Huber()), {}, [
        f"Network: layers: too few elements (got [], expected a list of one or more {LAYERS})",
    ]),
    (Network, ([Dense(1), 3], "huber"), {}, [
        f"Network: layers.1: wrong type (got 3, expected a list of one or more {LAYERS})",
        f'Network: loss: wrong type (got "huber", expected {LOSSES})',
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("declaration", "args", "kwargs", "expected"), CASES)
def test_a_wrong_argument_is_told_in_one_line(
    declaration: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], expected: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        declaration(*args, **kwargs)
    assert list(caught.value.problems) == expected


def test_right_arguments_make_frozen_declarations_that_compare_by_value() -> None:
    layer = Dense(3, "relu", inputs=["input"])  # type: ignore[arg-type]
    assert layer == Dense(units=3, activation="relu", inputs=("input",))
    assert SGD(0.5, clip_norm=1).learning_rate == 0.5
    assert len({layer, Dense(3, "relu", inputs=("input",)), Activation("relu")}) == 2
    with pytest.raises(AttributeError):
        layer.units = 4  # type: ignore[misc]
