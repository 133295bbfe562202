"""Layers of a network, as declarations.

A layer reads the output of the layer before it, or of those named in `inputs`; "input" is the network's own input.
"""

from dataclasses import field
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, Strict

from distprop.config.declaration import Count, Fraction, Names, Positive, declaration

Function: TypeAlias = Literal["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu"]
Initializer: TypeAlias = (
    Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "zeros"]
    | float
)


@declaration
class Dense:
    """Fully connected layer: y = activation(x @ w + b), with w (inputs, units) and b (units,)."""

    units: Count
    activation: Function = "identity"
    initializer: Initializer | None = None  # None: he_uniform before the relu family, glorot_uniform otherwise
    bias: bool = True
    bias_initializer: Initializer = "zeros"
    name: str | None = None
    inputs: Names = ()
    type: Literal["dense"] = field(default="dense", kw_only=True)


@declaration
class Activation:
    """An activation function of its own: y = function(x), element by element."""

    function: Function
    name: str | None = None
    inputs: Names = ()
    type: Literal["activation"] = field(default="activation", kw_only=True)


@declaration
class Dropout:
    """In training, sets each unit to zero with probability `rate` and scales the others by 1 / (1 - rate)."""

    rate: Fraction
    name: str | None = None
    inputs: Names = ()
    type: Literal["dropout"] = field(default="dropout", kw_only=True)


@declaration
class Flatten:
    """One axis for every sample: (rows, a, b, ...) becomes (rows, a * b * ...)."""

    name: str | None = None
    inputs: Names = ()
    type: Literal["flatten"] = field(default="flatten", kw_only=True)


@declaration
class Standardise:
    """y = (x - mean) / deviation with fixed numbers, kept in the model file.

    Numbers that aren't given are the training data's own: of each feature, or of all features together.
    """

    per: Literal["feature", "array"] = "feature"
    mean: float | None = None
    deviation: Positive | None = None
    name: str | None = None
    inputs: Names = ()
    type: Literal["standardise"] = field(default="standardise", kw_only=True)


@declaration
class Add:
    """The sum of two or more values of one shape."""

    inputs: Names
    name: str | None = None
    type: Literal["add"] = field(default="add", kw_only=True)


@declaration
class Concatenate:
    """Two or more values beside each other: (rows, a) and (rows, b) become (rows, a + b)."""

    inputs: Names
    name: str | None = None
    type: Literal["concatenate"] = field(default="concatenate", kw_only=True)


Layer: TypeAlias = Annotated[
    Dense | Activation | Dropout | Flatten | Standardise | Add | Concatenate, Field(discriminator="type")
]
Layers: TypeAlias = Annotated[tuple[Layer, ...], Strict(False), Field(min_length=1)]
