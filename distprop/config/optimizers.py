"""Optimizers, as declarations: how parameters follow their gradients.

w is a parameter and g its gradient, clipped, and with l1 and l2 in it; the state (m, v, s) starts at zero; t counts
the steps from 1. The learning rate of a step is `learning_rate` times the schedule's factor.
"""

from dataclasses import KW_ONLY, field
from typing import Annotated, Literal, TypeAlias

from distprop.config.declaration import Fraction, NotNegative, Positive, Tagged, declaration


@declaration
class _Regularised:
    _: KW_ONLY
    l1: NotNegative = 0.0
    """Adds l1 sign(w) to the gradient of each weight; biases are left alone."""
    l2: NotNegative = 0.0
    """Adds l2 w to the gradient of each weight; biases are left alone."""
    weight_decay: NotNegative = 0.0
    """Decoupled decay: w -= learning_rate * weight_decay * w before the update; biases are left alone."""
    clip_norm: Positive | None = None
    """Scales the whole gradient, before l1 and l2, down to this Euclidean norm."""
    clip_value: Positive | None = None
    """Then limits each element of the gradient to this magnitude."""


@declaration
class SGD(_Regularised):
    """w -= learning_rate * g."""

    learning_rate: Positive = 0.01
    """Size of a step, before the schedule's factor."""
    type: Literal["sgd"] = field(default="sgd", kw_only=True)


@declaration
class Momentum(_Regularised):
    """v = momentum * v + g;  w -= learning_rate * v."""

    learning_rate: Positive = 0.01
    """Size of a step, before the schedule's factor."""
    momentum: Fraction = 0.9
    """Part of the velocity that is kept."""
    type: Literal["momentum"] = field(default="momentum", kw_only=True)


@declaration
class Nesterov(_Regularised):
    """v = momentum * v + g;  w -= learning_rate * (g + momentum * v)."""

    learning_rate: Positive = 0.01
    """Size of a step, before the schedule's factor."""
    momentum: Fraction = 0.9
    """Part of the velocity that is kept."""
    type: Literal["nesterov"] = field(default="nesterov", kw_only=True)


@declaration
class AdaGrad(_Regularised):
    """s += g^2;  w -= learning_rate * g / (sqrt(s) + epsilon)."""

    learning_rate: Positive = 0.01
    """Size of a step, before the schedule's factor."""
    epsilon: Positive = 1e-10
    """Keeps the division from zero."""
    type: Literal["adagrad"] = field(default="adagrad", kw_only=True)


@declaration
class RMSprop(_Regularised):
    """s = decay * s + (1 - decay) g^2;  w -= learning_rate * g / (sqrt(s) + epsilon)."""

    learning_rate: Positive = 0.001
    """Size of a step, before the schedule's factor."""
    decay: Fraction = 0.99
    """Part of the mean square that is kept."""
    epsilon: Positive = 1e-8
    """Keeps the division from zero."""
    type: Literal["rmsprop"] = field(default="rmsprop", kw_only=True)


@declaration
class Adam(_Regularised):
    """m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;

    w -= learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)   (Kingma and Ba, 2015).
    """

    learning_rate: Positive = 0.001
    """Size of a step, before the schedule's factor."""
    beta1: Fraction = 0.9
    """Part of the mean gradient that is kept."""
    beta2: Fraction = 0.999
    """Part of the mean square that is kept."""
    epsilon: Positive = 1e-8
    """Keeps the division from zero."""
    type: Literal["adam"] = field(default="adam", kw_only=True)


@declaration
class AdamW(_Regularised):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    learning_rate: Positive = 0.001
    """Size of a step, before the schedule's factor."""
    beta1: Fraction = 0.9
    """Part of the mean gradient that is kept."""
    beta2: Fraction = 0.999
    """Part of the mean square that is kept."""
    epsilon: Positive = 1e-8
    """Keeps the division from zero."""
    weight_decay: NotNegative = field(default=0.01, kw_only=True)
    """Decoupled decay: w -= learning_rate * weight_decay * w before the update; biases are left alone."""
    type: Literal["adamw"] = field(default="adamw", kw_only=True)


Optimizer: TypeAlias = Annotated[SGD | Momentum | Nesterov | AdaGrad | RMSprop | Adam | AdamW, Tagged()]
