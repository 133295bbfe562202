"""What of a network doesn't fit its data is told in one line, before any rank starts."""

import numpy as np
import pytest

import distprop as dp
from distprop.data import fit
from distprop.data.dataset import Dataset
from distprop.errors import ConfigError

X = np.arange(12.0).reshape(6, 2)
CLASSES = Dataset.from_arrays(X, [0, 1, 2, 0, 1, 2])[1]
TWO = Dataset.from_arrays(X, [0, 1, 1, 0, 1, 0])[1]
VALUES = Dataset.from_arrays(X, X * 2)[1]


@pytest.mark.parametrize(
    ("loss", "units", "encoding", "problem"),
    [
        (
            dp.SoftmaxCrossEntropy(),
            2,
            CLASSES,
            "network.layers.1.units: the targets have 3 classes: set units = 3 (got 2, expected 3)",
        ),
        (
            dp.MeanSquaredError(),
            1,
            CLASSES,
            "network.layers.1.units: the targets have 3 classes: set units = 3 (got 1, expected 3)",
        ),
        (
            dp.BinaryCrossEntropy(),
            3,
            TWO,
            "network.layers.1.units: the targets have 2 classes: set units = 2 (got 3, expected 2)",
        ),
        (
            dp.Huber(),
            3,
            VALUES,
            "network.layers.1.units: a sample has 2 target values: set units = 2 (got 3, expected 2)",
        ),
        (
            dp.SoftmaxCrossEntropy(),
            2,
            VALUES,
            "network.loss: softmax_cross_entropy needs classes (got targets that are values)",
        ),
        (
            dp.Huber(class_weights=(1.0, 2.0)),
            2,
            VALUES,
            "network.loss.class_weights: needs classes (got targets that are values)",
        ),
        (
            dp.SoftmaxCrossEntropy(class_weights=(1.0, 2.0)),
            3,
            CLASSES,
            "network.loss.class_weights: the targets have 3 classes (got [1.0, 2.0], expected 3 numbers)",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_cure(loss, units, encoding, problem):
    network = dp.Network([dp.Dense(4, "relu"), dp.Dense(units, name="out")], loss=loss)
    with pytest.raises(ConfigError) as caught:
        fit.fitting_graph(network, encoding)
    assert problem in str(caught.value) and len(caught.value.problems) == 1


@pytest.mark.parametrize("units", [1, 2])
def test_two_classes_take_one_logit_or_two(units):
    network = dp.Network([dp.Dense(units)], loss=dp.BinaryCrossEntropy(class_weights=(1.0, 3.0)))
    assert fit.fitting_graph(network, TWO).outputs == units
