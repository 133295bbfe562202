"""Kernels that move values between layers: standardise, add, concatenate; and the minibatch's weights.

Shapes: N rows, F features. Arrays of one call have one dtype unless said otherwise.
"""

from distprop.kernels.jit import kernel


@kernel
def standardise_forward(y, x, mean, inverse):
    """y (N, F) = (x (N, F) - mean (F,)) * inverse (F,), with inverse = 1 / deviation."""
    for n in range(x.shape[0]):
        for f in range(x.shape[1]):
            y[n, f] = (x[n, f] - mean[f]) * inverse[f]


@kernel
def standardise_backward(dx, dy, inverse):
    """dx (N, F) = dy (N, F) * inverse (F,)."""
    for n in range(dy.shape[0]):
        for f in range(dy.shape[1]):
            dx[n, f] = dy[n, f] * inverse[f]


@kernel
def add_forward(y, a, b):
    """y = a + b, all (N, F)."""
    for n in range(y.shape[0]):
        for f in range(y.shape[1]):
            y[n, f] = a[n, f] + b[n, f]


@kernel
def accumulate(y, x):
    """y += x, both (N, F): where a value feeds several layers, the gradients that come back are summed."""
    for n in range(y.shape[0]):
        for f in range(y.shape[1]):
            y[n, f] += x[n, f]


@kernel
def copy_into_columns(y, x, first):
    """y[:, first:first + F] = x (N, F): one part of a concatenation."""
    for n in range(x.shape[0]):
        for f in range(x.shape[1]):
            y[n, first + f] = x[n, f]


@kernel
def copy_from_columns(x, y, first):
    """x (N, F) = y[:, first:first + F]: the gradient of one part of a concatenation."""
    for n in range(x.shape[0]):
        for f in range(x.shape[1]):
            x[n, f] = y[n, first + f]


@kernel
def weigh_classes(weights, labels, class_weights):
    """weights[n] *= class_weights[labels[n]]: (N,), (N,) int32, (C,)."""
    for n in range(weights.shape[0]):
        weights[n] *= class_weights[labels[n]]
