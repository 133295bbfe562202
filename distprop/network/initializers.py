"""Initial values of a network's parameters, as declared: Glorot's, He's, LeCun's, zeros or a constant."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.config.layers import Initializer
from distprop.kernels.initializers import normal_weights, uniform_weights


def initialize(
    out: npt.NDArray[np.floating[Any]], initializer: Initializer, inputs: int, outputs: int, seed: int, number: int
) -> None:
    """Fill `out`, C-contiguous and of any shape, with initial values.

    inputs, outputs: of the layer that the array belongs to. number: the array's own, below 4096; with the seed it keys
    the random numbers. A value depends on these and its index alone; float32 values are rounded float64 ones.
    """
    values = out.reshape(-1)
    if not isinstance(initializer, str):
        values[:] = initializer
    elif initializer == "zeros":
        values[:] = 0
    elif initializer.endswith("_uniform"):
        uniform_weights(values, math.sqrt(3 * variance(initializer, inputs, outputs)), seed, number)
    else:
        normal_weights(values, math.sqrt(variance(initializer, inputs, outputs)), seed, number)


def variance(initializer: str, inputs: int, outputs: int) -> float:
    """Of each weight, after Glorot and Bengio (2010), He et al. (2015) or LeCun et al. (1998)."""
    family = initializer.partition("_")[0]
    return {"glorot": 2 / (inputs + outputs), "he": 2 / inputs, "lecun": 1 / inputs}[family]
