"""Random initial weights: element e of an array is a function of (seed, the array's number, e).

Computed in float64 and rounded at the end, so float32 weights are the rounded float64 weights.
`weights` is one-dimensional; `number`, below 2^12, is another one for each array of a network.
"""

import numpy as np

from distprop.kernels.elementary import log
from distprop.kernels.jit import inlined, kernel
from distprop.kernels.random import INITIALIZE, random_words, uniform64


@inlined
def _symmetric(high, low):
    """Uniform in [-1, 1)."""
    return 2.0 * uniform64(high, low) - 1.0


@inlined
def _standard_normal(seed, number, element):
    """Marsaglia and Bray's polar method (1964); each attempt has a block of its own, and 79 % of them succeed."""
    attempt = 0
    while True:
        w0, w1, w2, w3 = random_words(seed, INITIALIZE, number, 0, element, attempt)
        x, y = _symmetric(w0, w1), _symmetric(w2, w3)
        square = x * x + y * y
        if 0.0 < square < 1.0:
            return x * np.sqrt(-2.0 * log(square) / square)
        attempt += 1


@kernel
def uniform_weights(weights, limit, seed, number):
    """weights[e] = uniform in [-limit, limit)."""
    for element in range(weights.shape[0]):
        w0, w1, _, _ = random_words(seed, INITIALIZE, number, 0, element, 0)
        weights[element] = limit * _symmetric(w0, w1)


@kernel
def normal_weights(weights, deviation, seed, number):
    """weights[e] = normal with mean 0 and this standard deviation."""
    for element in range(weights.shape[0]):
        weights[element] = deviation * _standard_normal(seed, number, element)
