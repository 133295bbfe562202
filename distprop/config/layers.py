"""Layers of a network, as declarations.

A layer reads the output of the layer before it, or of those named in `inputs`; "input" is the network's own input.
"""

from dataclasses import field
from typing import Annotated, Literal, TypeAlias

from distprop.config.declaration import Bounds, Count, Fraction, Listed, Names, Positive, Tagged, declaration

Function: TypeAlias = Literal["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus", "gelu", "silu"]
Initializer: TypeAlias = (
    Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal", "zeros"]
    | float
)


@declaration
class Dense:
    """Fully connected layer: y = activation(x @ w + b), with w (inputs, units) and b (units,)."""

    units: Count
    """Number of outputs."""
    activation: Function = "identity"
    """Function that is applied to each output."""
    initializer: Initializer | None = None
    """How the weights start; a number for that constant. Not given: he_uniform before the relu family (relu,
    leaky_relu, elu, softplus, gelu, silu), glorot_uniform otherwise.
    """
    bias: bool = True
    """Whether there is a bias."""
    bias_initializer: Initializer = "zeros"
    """How the bias starts; a number for that constant."""
    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    inputs: Names = ()
    """Name of the layer that it reads, in a list; "input": the network's own input. None named: the layer before it."""
    type: Literal["dense"] = field(default="dense", kw_only=True)


@declaration
class Activation:
    """An activation function of its own: y = function(x), element by element."""

    function: Function
    """The function, element by element."""
    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    inputs: Names = ()
    """Name of the layer that it reads, in a list; "input": the network's own input. None named: the layer before it."""
    type: Literal["activation"] = field(default="activation", kw_only=True)


@declaration
class Dropout:
    """In training, sets each unit to zero with probability `rate` and scales the others by 1 / (1 - rate)."""

    rate: Fraction
    """Probability that a unit is set to zero."""
    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    inputs: Names = ()
    """Name of the layer that it reads, in a list; "input": the network's own input. None named: the layer before it."""
    type: Literal["dropout"] = field(default="dropout", kw_only=True)


@declaration
class Flatten:
    """One axis for every sample: (rows, a, b, ...) becomes (rows, a * b * ...)."""

    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    inputs: Names = ()
    """Name of the layer that it reads, in a list; "input": the network's own input. None named: the layer before it."""
    type: Literal["flatten"] = field(default="flatten", kw_only=True)


@declaration
class Standardise:
    """y = (x - mean) / deviation with fixed numbers, kept in the model file.

    Numbers that aren't given are the training data's own: of each feature, or of all features together.
    """

    per: Literal["feature", "array"] = "feature"
    """One mean and deviation for each feature, or for all features together."""
    mean: float | None = None
    """Subtracted from each feature. Not given: the training data's."""
    deviation: Positive | None = None
    """Divides each feature. Not given: the training data's."""
    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    inputs: Names = ()
    """Name of the layer that it reads, in a list; "input": the network's own input. None named: the layer before it."""
    type: Literal["standardise"] = field(default="standardise", kw_only=True)


@declaration
class Add:
    """The sum of two or more values of one shape."""

    inputs: Names
    """Names of the two or more layers whose outputs are added; "input" is the network's own input."""
    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    type: Literal["add"] = field(default="add", kw_only=True)


@declaration
class Concatenate:
    """Two or more values beside each other: (rows, a) and (rows, b) become (rows, a + b)."""

    inputs: Names
    """Names of the two or more layers whose outputs are joined; "input" is the network's own input."""
    name: str | None = None
    """Name of the layer, unique in the network. Not given: the type and a number, as in dense_1."""
    type: Literal["concatenate"] = field(default="concatenate", kw_only=True)


Layer: TypeAlias = Annotated[Dense | Activation | Dropout | Flatten | Standardise | Add | Concatenate, Tagged()]
Layers: TypeAlias = Annotated[tuple[Layer, ...], Listed(), Bounds(min_length=1)]
