"""Data sets from arrays in memory: checked at the border, with an error that names the array and the row."""

from typing import Any

import numpy as np
import pytest

from distprop.data.dataset import Dataset, features_from
from distprop.errors import DataError

X = np.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("y", "labels", "classes"),
    [
        ([0, 1, 2, 1], [0, 1, 2, 1], ("0", "1", "2")),
        ([10, 9, 9, 10], [1, 0, 0, 1], ("9", "10")),
        (["no", "yes", "no", "no"], [0, 1, 0, 0], ("no", "yes")),
        ([True, False, True, True], [1, 0, 1, 1], ("false", "true")),
        (np.array([[1], [0], [0], [1]], np.uint8), [1, 0, 0, 1], ("0", "1")),
    ],
)
def test_labels_of_every_kind_become_numbers_of_sorted_classes(y: Any, labels: list[int], classes: Any) -> None:
    dataset, encoding = Dataset.from_arrays(X, y)
    assert dataset.labels is not None and dataset.labels.dtype == np.int32
    assert dataset.labels.tolist() == labels
    assert encoding.target.classes == classes
    assert encoding.statistics is not None
    assert encoding.statistics.class_counts == tuple(labels.count(n) for n in range(len(classes)))


def test_floating_point_targets_are_values_unless_called_classes() -> None:
    dataset, encoding = Dataset.from_arrays(X, [1.0, 2.0, 2.0, 1.0])
    assert dataset.targets is not None and dataset.targets.shape == (4, 1) and dataset.labels is None
    assert encoding.target.outputs == 1
    dataset, encoding = Dataset.from_arrays(X, [1.0, 2.0, 2.0, 1.0], kind="classes")
    assert dataset.labels is not None and encoding.target.classes == ("1", "2")
    dataset, encoding = Dataset.from_arrays(X, np.ones((4, 2), int), kind="values")
    assert dataset.targets is not None and dataset.targets.shape == (4, 2)
    assert encoding.target.output_names == ("target_0", "target_1")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_get_the_asked_dtype_and_c_order(dtype: Any) -> None:
    x = np.asfortranarray(np.arange(24, dtype=np.int16).reshape(4, 2, 3))
    dataset, encoding = Dataset.from_arrays(x, [0.5, 1, 2, 3], [1, 2, 0, 1], dtype=dtype)
    assert dataset.targets is not None and dataset.weights is not None
    for array in (dataset.features, dataset.targets, dataset.weights):
        assert array.dtype == np.dtype(dtype) and array.flags.c_contiguous
    assert dataset.shape == encoding.shape == (2, 3) and len(dataset) == 4
    np.testing.assert_array_equal(dataset.features, x)


def test_uint8_features_stay_as_they_are() -> None:
    assert Dataset.from_arrays(X.astype(np.uint8), [0, 1, 0, 1])[0].features.dtype == np.uint8


def test_data_to_validate_on_follow_the_encoding_of_the_training_data() -> None:
    _, encoding = Dataset.from_arrays(X, ["c", "a", "b", "a"])
    dataset, same = Dataset.from_arrays(X[:2], ["b", "b"], encoding=encoding)
    assert dataset.labels is not None and dataset.labels.tolist() == [1, 1] and same is encoding
    with pytest.raises(DataError, match=r'y, row 1: class "z" was not in the training data \(known: a, b, c\)'):
        Dataset.from_arrays(X[:2], ["b", "z"], encoding=encoding)
    with pytest.raises(DataError, match=r"shape \(2,\), the training data had \(3,\)"):
        Dataset.from_arrays(X[:, :2], ["a"] * 4, encoding=encoding)


def changed(value: float) -> np.ndarray:
    x = X.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "weights", "message"),
    [
        (X, [0, 1, 0], None, r"^y has 3 rows, but x has 4"),
        (X, [0, 1, 0, 1], [1, 1, 1], r"^weights has 3 rows, but x has 4"),
        (X, 3, None, r"^y: shape \(\); needed are 4 rows"),
        (X, np.ones((4, 2), int), None, r"^y: shape \(4, 2\), but labels have one axis"),
        (X, [1, 1, 1, 1], None, r"^y: all samples are of one class \(1\)"),
        (X, [1.0, 2.0, np.nan, 1.0], None, r"^y, row 2: NaN"),
        (X, [None, "a", "b", "c"], None, r"^y: labels of type object"),
        (X[0], [0, 1, 0], None, r"^x: shape \(3,\); needed are two axes"),
        (X[:0], [], None, r"^x: shape \(0, 3\) is empty"),
        (X[:, :0], [0, 1, 0, 1], None, r"^x: shape \(4, 0\) is empty"),
        ([[1, 2], [3]], [0, 1], None, r"^x: the rows are not of one length"),
        ([["a"], ["b"]], [0, 1], None, r"^x: elements of type <U1 are no real numbers"),
        (X * 1j, [0, 1, 0, 1], None, r"^x: elements of type complex128"),
        (changed(np.nan), [0, 1, 0, 1], None, r"^x, row 2: NaN"),
        (changed(np.inf), [0, 1, 0, 1], None, r"^x, row 2: NaN, infinite"),
        (changed(1e39), [0, 1, 0, 1], None, r"^x, row 2: .*too large for float32"),
        (X, [0, 1, 0, 1], [1, 1, -1, 1], r"^weights, row 2: a weight is negative"),
        (X, [0, 1, 0, 1], [0, 0, 0, 0], r"^weights: all weights are 0"),
        (X, [0, 1, 0, 1], [1, np.nan, 1, 1], r"^weights, row 1: NaN"),
        (X, [0, 1, 0, 1], np.ones((4, 1)), r"^weights: shape \(4, 1\); needed is one axis"),
    ],
)
def test_wrong_arrays_are_refused_with_the_name_and_the_row(x: Any, y: Any, weights: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Dataset.from_arrays(x, y, weights)
    assert "\n" not in str(caught.value)


def test_features_for_a_prediction_are_checked_alone() -> None:
    assert features_from([[1, 2]], "float64").dtype == np.float64
    with pytest.raises(DataError, match="x, row 0"):
        features_from([[np.inf, 2]], "float32")
