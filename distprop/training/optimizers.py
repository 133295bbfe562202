"""Optimizers at work: each rank updates the slice of the parameters that it owns and keeps that slice's state.

The scalars of a step are computed here in float64, from additions, products, divisions and square roots alone, then
rounded once to the type of the parameters.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distprop.config import optimizers as declared
from distprop.kernels import updates
from distprop.network.layout import Layout

Array = npt.NDArray[Any]


class Segments(NamedTuple):
    """A slice of the flat vectors cut into weights and the rest: bounds (K + 1,) int64, is_weight (K,) uint8."""

    bounds: Array
    is_weight: Array


class Rule(NamedTuple):
    """What tells one optimizer from another.

    scalars(optimizer, learning_rate, t): the kernel's last arguments at step t = 1, 2, ...
    """

    slots: tuple[str, ...]
    kernel: Callable[..., None]
    scalars: Callable[[Any, float, int], tuple[float, ...]]


def segments_of(layout: Layout, owned: slice) -> Segments:
    """The segments of the owned slice [start, stop) of the flat vectors; the gaps of the layout count as biases."""
    cuts = {owned.start, owned.stop}
    weights = [(parameter.offset, parameter.stop) for parameter in layout.parameters if parameter.is_weight]
    cuts |= {cut for span in weights for cut in span if owned.start < cut < owned.stop}
    bounds = sorted(cuts)
    flags = [any(first <= cut < stop for first, stop in weights) for cut in bounds[:-1]]
    return Segments(np.array(bounds, np.int64) - owned.start, np.array(flags, np.uint8))


def clip_scale(clip_norm: float | None, norm: float) -> float:
    """What the gradient is multiplied by so that its norm is at most clip_norm."""
    return 1.0 if clip_norm is None or norm <= clip_norm else clip_norm / norm


def integer_power(base: float, exponent: int) -> float:
    """base^exponent for exponent >= 0, by squaring: the same bits with every C library, as `**` would not promise."""
    power = 1.0
    while exponent:
        if exponent & 1:
            power *= base
        base *= base
        exponent >>= 1
    return power


class Updater:
    """An optimizer and its state for the owned slice of the parameters."""

    def __init__(self, optimizer: declared.Optimizer, layout: Layout, owned: slice, dtype: npt.DTypeLike) -> None:
        self._optimizer, self._rule = optimizer, RULES[optimizer.type]
        self._segments = segments_of(layout, owned)
        self._number = np.dtype(dtype).type
        self._slots = {name: np.zeros(owned.stop - owned.start, dtype) for name in self._rule.slots}

    def slots(self) -> dict[str, Array]:
        """The state by name ("m", "v"): arrays (L,), zero at the start. A checkpoint saves and fills them."""
        return self._slots

    def update(self, params: Array, grads: Array, learning_rate: float, step: int, norm: float) -> None:
        """One step of descent, in place. params, grads: (L,), the slice; `step` counts from 0.

        learning_rate: with the schedule's factor in it. norm: the Euclidean norm of the whole gradient.
        """
        optimizer = self._optimizer
        limit = math.inf if optimizer.clip_value is None else optimizer.clip_value
        shrink = learning_rate * optimizer.weight_decay
        common = (clip_scale(optimizer.clip_norm, norm), limit, optimizer.l1, optimizer.l2, shrink)
        scalars = common + self._rule.scalars(optimizer, learning_rate, step + 1)
        self._rule.kernel(params, *self._slots.values(), grads, *self._segments, *map(self._number, scalars))


def _sgd(optimizer: declared.SGD, rate: float, t: int) -> tuple[float, ...]:
    return (rate,)


def _momentum(optimizer: declared.Momentum | declared.Nesterov, rate: float, t: int) -> tuple[float, ...]:
    return rate, optimizer.momentum


def _adagrad(optimizer: declared.AdaGrad, rate: float, t: int) -> tuple[float, ...]:
    return rate, optimizer.epsilon


def _rmsprop(optimizer: declared.RMSprop, rate: float, t: int) -> tuple[float, ...]:
    return rate, optimizer.decay, 1 - optimizer.decay, optimizer.epsilon


def _adam(optimizer: declared.Adam | declared.AdamW, rate: float, t: int) -> tuple[float, ...]:
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    corrected_rate = rate / (1 - integer_power(beta1, t))
    root = 1 / math.sqrt(1 - integer_power(beta2, t))
    return corrected_rate, beta1, 1 - beta1, beta2, 1 - beta2, root, optimizer.epsilon


RULES = {
    "sgd": Rule((), updates.sgd_update, _sgd),
    "momentum": Rule(("v",), updates.momentum_update, _momentum),
    "nesterov": Rule(("v",), updates.nesterov_update, _momentum),
    "adagrad": Rule(("s",), updates.adagrad_update, _adagrad),
    "rmsprop": Rule(("s",), updates.rmsprop_update, _rmsprop),
    "adam": Rule(("m", "v"), updates.adam_update, _adam),
    "adamw": Rule(("m", "v"), updates.adam_update, _adam),
}
