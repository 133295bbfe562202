"""Backpropagation written a second time: NumPy, float64, one dictionary of values, nothing shared with the package.

Layers are the package's declarations with names and inputs written out. Shapes: N rows.
"""

import math

import numpy as np

ERF = np.vectorize(math.erf, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normal_density(x):
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def normal_distribution(x):
    return (1 + ERF(x / math.sqrt(2))) / 2


FUNCTIONS = {  # function and derivative, both of x
    "identity": (lambda x: x, lambda x: np.ones_like(x)),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x))),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "relu": (lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1, 0.01)),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x))),
    "softplus": (lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), sigmoid),
    "gelu": (
        lambda x: x * normal_distribution(x),
        lambda x: normal_distribution(x) + x * normal_density(x),
    ),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
}


def forward(layers, params, x, constants=None, masks=None):
    """All values by name, x (N, ...) among them as "input"; z of a dense layer as (name, "z")."""
    values = {"input": np.asarray(x, float)}
    for layer in layers:
        inputs = [values[name] for name in layer.inputs]
        if layer.type == "dense":
            z = inputs[0] @ params[f"{layer.name}.weight"]
            if layer.bias:
                z = z + params[f"{layer.name}.bias"]
            values[layer.name, "z"] = z
            y = FUNCTIONS[layer.activation][0](z)
        elif layer.type == "activation":
            y = FUNCTIONS[layer.function][0](inputs[0])
        elif layer.type == "dropout":
            y = inputs[0] * masks[layer.name] if masks else inputs[0]
        elif layer.type == "flatten":
            y = inputs[0].reshape(len(inputs[0]), math.prod(inputs[0].shape[1:]))
        elif layer.type == "standardise":
            shape = inputs[0].shape[1:]
            mean, deviation = constants[f"{layer.name}.mean"], constants[f"{layer.name}.deviation"]
            y = (inputs[0] - mean.reshape(shape)) / deviation.reshape(shape)
        else:
            y = sum(inputs) if layer.type == "add" else np.concatenate(inputs, axis=1)
        values[layer.name] = y
    return values


def backward(layers, params, values, dy, constants=None, masks=None):
    """The gradients of all parameters by name, for dy (N, O), the gradient of the last layer's output."""
    slopes = {name: np.zeros_like(value) for name, value in values.items() if isinstance(name, str)}
    slopes[layers[-1].name] = np.asarray(dy, float)
    grads = {}
    for layer in reversed(layers):
        d, x = slopes[layer.name], values[layer.inputs[0]]
        if layer.type == "dense":
            d = d * FUNCTIONS[layer.activation][1](values[layer.name, "z"])
            grads[f"{layer.name}.weight"] = x.T @ d
            if layer.bias:
                grads[f"{layer.name}.bias"] = d.sum(axis=0)
            slopes[layer.inputs[0]] += d @ params[f"{layer.name}.weight"].T
        elif layer.type == "activation":
            slopes[layer.inputs[0]] += d * FUNCTIONS[layer.function][1](x)
        elif layer.type == "dropout":
            slopes[layer.inputs[0]] += d * masks[layer.name] if masks else d
        elif layer.type == "flatten":
            slopes[layer.inputs[0]] += d.reshape(x.shape)
        elif layer.type == "standardise":
            slopes[layer.inputs[0]] += d / constants[f"{layer.name}.deviation"].reshape(x.shape[1:])
        elif layer.type == "add":
            for name in layer.inputs:
                slopes[name] += d
        else:
            first = 0
            for name in layer.inputs:
                width = values[name].shape[1]
                slopes[name] += d[:, first : first + width]
                first += width
    return grads


def softmax_cross_entropy(z, labels, weights, smoothing=0.0):
    """The weighted mean loss, and its gradient with respect to z (N, C)."""
    shifted = z - z.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    q = np.full(z.shape, smoothing / z.shape[1])
    q[np.arange(len(z)), labels] += 1 - smoothing
    scale = (weights / weights.sum())[:, None]
    return float((-(q * logarithms) * scale).sum()), scale * (np.exp(logarithms) - q)


def mean_squared_error(z, targets, weights):
    """The weighted mean loss, and its gradient with respect to z (N, O)."""
    scale = (weights / weights.sum())[:, None] / z.shape[1]
    return float(((z - targets) ** 2 * scale).sum()), 2 * (z - targets) * scale
