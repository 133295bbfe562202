"""Sums for metrics against counts and formulas in NumPy."""

import numpy as np
import pytest

from distprop.kernels.metrics import binary_sums, classification_sums, correct_weights, regression_sums

TYPES = [np.float32, np.float64]


def classify(z, labels, weights, k):
    sums, confusion = np.zeros(3), np.zeros((z.shape[1], z.shape[1]), np.int64)
    classification_sums(sums, confusion, z, np.array(labels, np.int32), weights, k)
    return sums, confusion


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_classification_sums_agree_with_sorting(k, dtype):
    rng = np.random.default_rng(k)
    z = rng.integers(0, 4, size=(41, 5)).astype(dtype)  # many ties
    labels, weights = rng.integers(0, 5, size=41), rng.uniform(0.5, 2, size=41).astype(dtype)
    order = np.argsort(-z, axis=1, kind="stable")
    sums, confusion = classify(z, labels, weights, k)
    w = weights.astype(np.float64)
    within = (order[:, :k] == labels[:, None]).any(axis=1)
    np.testing.assert_allclose(sums, [w.sum(), w[order[:, 0] == labels].sum(), w[within].sum()], rtol=1e-14)
    expected = np.zeros((5, 5), np.int64)
    np.add.at(expected, (labels, order[:, 0]), 1)
    assert np.array_equal(confusion, expected)


def test_sums_are_added_to():
    z, weights = np.array([[1.0, 0.0]]), np.array([2.0])
    sums, confusion = np.array([1.0, 1.0, 1.0]), np.ones((2, 2), np.int64)
    classification_sums(sums, confusion, z, np.array([0], np.int32), weights, 1)
    assert sums.tolist() == [3, 3, 3]
    assert confusion.tolist() == [[2, 1], [1, 1]]


def test_a_row_with_nan_is_never_correct_and_never_an_index_error():
    z = np.array([[np.nan] * 3, [0, np.nan, 0], [0, 1, np.nan]])
    sums, confusion = classify(z, [0, 1, 1], np.ones(3), k=3)
    assert sums.tolist() == [3, 0, 0]
    assert confusion.sum() == 3


@pytest.mark.parametrize("dtype", TYPES)
def test_one_logit_predicts_class_one_where_it_is_positive(dtype):
    z = np.array([[0.5], [0.0], [-1.0], [2.0], [np.nan]], dtype)
    labels, weights = np.array([1, 0, 1, 0, 1], np.int32), np.array([1, 2, 4, 8, 16], dtype)
    for k, within in ((1, 3.0), (2, 15.0)):
        sums, confusion = np.zeros(3), np.zeros((2, 2), np.int64)
        binary_sums(sums, confusion, z, labels, weights, k)
        assert sums.tolist() == [31, 3, within]
        assert confusion.tolist() == [[1, 1], [2, 1]]


@pytest.mark.parametrize("dtype", TYPES)
def test_mean_absolute_error_and_r_squared_follow_from_the_sums(dtype):
    rng = np.random.default_rng(4)
    targets = (1e4 + rng.normal(size=(37, 3))).astype(dtype)
    z, weights = (targets + rng.normal(size=(37, 3))).astype(dtype), rng.uniform(0.5, 2, 37).astype(dtype)
    sums, shift = np.zeros((3, 5)), np.array([1e4, 1e4 - 1, 1e4 + 1])
    regression_sums(sums, z, targets, weights, shift)
    weight, first, second, absolute, square = sums.T
    y, t, w = (a.astype(np.float64) for a in (z, targets, weights))
    mean = np.average(t, axis=0, weights=w)
    np.testing.assert_allclose(weight, w.sum(), rtol=1e-14)
    np.testing.assert_allclose(first / weight + shift, mean, rtol=1e-14)
    np.testing.assert_allclose(absolute / weight, np.average(abs(y - t), axis=0, weights=w), rtol=1e-13)
    np.testing.assert_allclose(square / weight, np.average((y - t) ** 2, axis=0, weights=w), rtol=1e-13)
    spread = np.average((t - mean) ** 2, axis=0, weights=w)
    np.testing.assert_allclose((second - first**2 / weight) / weight, spread, rtol=1e-12)


def test_a_nan_prediction_makes_the_errors_of_its_output_nan():
    sums = np.zeros((2, 5))
    regression_sums(sums, np.array([[np.nan, 1.0]]), np.array([[1.0, 3.0]]), np.ones(1), np.zeros(2))
    np.testing.assert_array_equal(sums, [[1, 1, 1, np.nan, np.nan], [1, 3, 9, 2, 4]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_correct_weights_are_those_of_rows_predicted_right(dtype):
    z = np.array([[1, 3, 2], [5, 5, 1], [0, 0, 9], [np.nan, 0, 1]], dtype)
    labels, weights = np.array([1, 1, 2, 2], np.int32), np.array([0.5, 2, 3, 4], dtype)
    out = np.full(4, np.nan)
    correct_weights(out, z, labels, weights)
    assert out.tolist() == [0.5, 0, 3, 0]  # of equal logits the first wins; a row with NaN is never right


def test_the_sign_of_a_single_logit_predicts_one_of_two_classes():
    out = np.full(4, np.nan)
    z, labels = np.array([[-1.0], [2.0], [0.0], [np.nan]]), np.array([0, 0, 0, 0], np.int32)
    correct_weights(out, z, labels, np.ones(4))
    assert out.tolist() == [1, 0, 1, 0]
