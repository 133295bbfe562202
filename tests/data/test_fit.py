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
        (dp.SoftmaxCrossEntropy(), 2, CLASSES, "out, has 2 units, but the targets have 3 classes: set units = 3"),
        (dp.MeanSquaredError(), 1, CLASSES, "out, has 1 units, but the targets have 3 classes: set units = 3"),
        (dp.BinaryCrossEntropy(), 3, TWO, "out, has 3 units, but the targets have 2 classes: set units = 2"),
        (dp.Huber(), 3, VALUES, "out, has 3 units, but a sample has 2 target values: set units = 2"),
        (dp.SoftmaxCrossEntropy(), 2, VALUES, "softmax_cross_entropy needs class labels as targets"),
        (dp.Huber(class_weights=(1.0, 2.0)), 2, VALUES, "class_weights need class labels as targets"),
        (
            dp.SoftmaxCrossEntropy(class_weights=(1.0, 2.0)),
            3,
            CLASSES,
            "2 class_weights, but the targets have 3 classes",
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
