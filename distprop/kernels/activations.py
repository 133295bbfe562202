"""Activation functions, element by element: y = f(x) and dx = dy f'(x).

Arrays are one-dimensional, contiguous, of one type, and don't overlap. NaN stays NaN. The identity needs no kernel.
"""

from collections.abc import Callable
from typing import Any

from distprop.kernels.elementary import erf, exp, expm1, sigmoid, softplus, tanh
from distprop.kernels.floats import fma
from distprop.kernels.jit import kernel

LEAKY_SLOPE = 0.01
SQRT_HALF = 0.7071067811865476
INVERSE_SQRT_TWO_PI = 0.3989422804014327


@kernel
def sigmoid_forward(y, x):
    """y = 1 / (1 + e^-x)."""
    for i in range(x.size):
        y[i] = sigmoid(x[i])


@kernel
def sigmoid_backward(dx, dy, x, y):
    """dx = dy y (1 - y)."""
    one = y.dtype.type(1)
    for i in range(x.size):
        dx[i] = dy[i] * (y[i] * (one - y[i]))


@kernel
def tanh_forward(y, x):
    """y = tanh(x)."""
    for i in range(x.size):
        y[i] = tanh(x[i])


@kernel
def tanh_backward(dx, dy, x, y):
    """dx = dy (1 - y^2)."""
    one = y.dtype.type(1)
    for i in range(x.size):
        dx[i] = dy[i] * fma(-y[i], y[i], one)


@kernel
def relu_forward(y, x):
    """y = max(x, 0)."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@kernel
def relu_backward(dx, dy, x, y):
    """dx = dy where y > 0, else 0: also at zero."""
    zero = y.dtype.type(0)
    for i in range(y.size):
        dx[i] = zero if y[i] <= zero else dy[i]


@kernel
def leaky_relu_forward(y, x):
    """y = x above zero, else 0.01 x."""
    zero, slope = x.dtype.type(0), x.dtype.type(LEAKY_SLOPE)
    for i in range(x.size):
        y[i] = x[i] if x[i] > zero else slope * x[i]


@kernel
def leaky_relu_backward(dx, dy, x, y):
    """dx = dy above zero, else 0.01 dy; y and x have the same sign."""
    zero, slope = y.dtype.type(0), y.dtype.type(LEAKY_SLOPE)
    for i in range(y.size):
        dx[i] = dy[i] if y[i] > zero else slope * dy[i]


@kernel
def elu_forward(y, x):
    """y = x above zero, else e^x - 1."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = x[i] if x[i] > zero else expm1(x[i])


@kernel
def elu_backward(dx, dy, x, y):
    """dx = dy above zero, else dy e^x, where e^x = y + 1."""
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in range(x.size):
        dx[i] = dy[i] if x[i] > zero else dy[i] * (y[i] + one)


@kernel
def softplus_forward(y, x):
    """y = log(1 + e^x)."""
    for i in range(x.size):
        y[i] = softplus(x[i])


@kernel
def softplus_backward(dx, dy, x, y):
    """dx = dy / (1 + e^-x)."""
    for i in range(x.size):
        dx[i] = dy[i] * sigmoid(x[i])


@kernel
def gelu_forward(y, x):
    """y = x P(x), with P the normal distribution function: (1 + erf(x / sqrt(2))) / 2. Hendrycks and Gimpel, 2016."""
    half, scale = x.dtype.type(0.5), x.dtype.type(SQRT_HALF)
    for i in range(x.size):
        y[i] = x[i] * fma(half, erf(x[i] * scale), half)


@kernel
def gelu_backward(dx, dy, x, y):
    """dx = dy (P(x) + x p(x)), with p the normal density e^(-x^2 / 2) / sqrt(2 pi)."""
    half, scale, density = x.dtype.type(0.5), x.dtype.type(SQRT_HALF), x.dtype.type(INVERSE_SQRT_TWO_PI)
    for i in range(x.size):
        p = density * exp(-half * x[i] * x[i])
        dx[i] = dy[i] * fma(x[i], p, fma(half, erf(x[i] * scale), half))


@kernel
def silu_forward(y, x):
    """y = x / (1 + e^-x)."""
    for i in range(x.size):
        y[i] = x[i] * sigmoid(x[i])


@kernel
def silu_backward(dx, dy, x, y):
    """dx = dy s (1 + x (1 - s)), with s = 1 / (1 + e^-x)."""
    one = x.dtype.type(1)
    for i in range(x.size):
        s = sigmoid(x[i])
        dx[i] = dy[i] * (s * fma(x[i], one - s, one))


FORWARD: dict[str, Callable[..., Any]] = {
    "sigmoid": sigmoid_forward,
    "tanh": tanh_forward,
    "relu": relu_forward,
    "leaky_relu": leaky_relu_forward,
    "elu": elu_forward,
    "softplus": softplus_forward,
    "gelu": gelu_forward,
    "silu": silu_forward,
}
BACKWARD: dict[str, Callable[..., Any]] = {
    "sigmoid": sigmoid_backward,
    "tanh": tanh_backward,
    "relu": relu_backward,
    "leaky_relu": leaky_relu_backward,
    "elu": elu_backward,
    "softplus": softplus_backward,
    "gelu": gelu_backward,
    "silu": silu_backward,
}
