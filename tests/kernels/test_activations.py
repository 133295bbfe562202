"""Activation functions against formulas written in NumPy, their gradients against central differences in float64."""

import math

import numpy as np
import pytest

from distprop.kernels.activations import BACKWARD, FORWARD

ERF = np.vectorize(math.erf, otypes=[np.float64])
FORMULAS = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(0, x),
    "gelu": lambda x: x * (1 + ERF(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
}
SIZES = [0, 1, 3, 7, 16, 33, 129]


def forward(name, x):
    y = np.full_like(x, np.nan)
    FORWARD[name](y, x)
    return y


def backward(name, dy, x):
    dx = np.full_like(x, np.nan)
    BACKWARD[name](dx, dy, x, forward(name, x))
    return dx


def numbers(size, dtype=np.float64):
    """Normal numbers of scale 3, none so near to zero that a difference would step over a kink."""
    x = np.random.default_rng(size).normal(scale=3, size=size)
    return np.where(abs(x) < 0.01, 1.0, x).astype(dtype)


def test_the_tables_name_the_same_functions():
    assert FORWARD.keys() == BACKWARD.keys() == FORMULAS.keys()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 2e-15)])
@pytest.mark.parametrize("name", FORMULAS)
def test_values_agree_with_the_formula(name, dtype, tolerance):
    for size in SIZES:
        x = numbers(size, dtype)
        np.testing.assert_allclose(
            forward(name, x), FORMULAS[name](x.astype(np.float64)), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_agree_with_central_differences(name):
    step = 1e-3
    for size in SIZES:
        x, dy = numbers(size), numbers(size + 1)[:size]
        near, far = (forward(name, x + h) - forward(name, x - h) for h in (step, 2 * step))
        slope = (8 * near - far) / (12 * step)  # its error is of the order of step^4
        np.testing.assert_allclose(backward(name, dy, x), dy * slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_float32_gradients_agree_with_float64(name):
    x, dy = numbers(129), numbers(130)[:129]
    single = backward(name, dy.astype(np.float32), x.astype(np.float32))
    np.testing.assert_allclose(single, backward(name, dy, x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FORMULAS)
def test_nan_stays_nan_and_only_where_it_was(name, dtype):
    x = numbers(37, dtype)
    x[[0, 17, 36]] = np.nan
    dy = np.ones_like(x)
    assert np.array_equal(np.isnan(forward(name, x)), np.isnan(x))
    dy[5] = np.nan
    x[5] = 1
    assert np.isnan(backward(name, dy, x)[5])


@pytest.mark.parametrize("name", FORMULAS)
def test_large_inputs_neither_overflow_nor_lose_their_limit(name):
    x = np.array([-1e30, -1000, 1000, 1e30], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(forward(name, x), FORMULAS[name](x.astype(np.float64)), rtol=1e-6, atol=1e-30)
    assert np.isfinite(backward(name, np.ones_like(x), x)).all()


def test_the_gradient_of_relu_at_zero_is_zero():
    assert backward("relu", np.ones(2), np.array([0.0, -0.0])).tolist() == [0, 0]
