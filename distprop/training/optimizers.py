"""Optimizers at work: each rank updates the slice of the parameters that it owns and keeps that slice's state."""

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from distprop.config import optimizers as declared
from distprop.kernels import updates
from distprop.kernels.memory import zeros
from distprop.kernels.step import STEP, set_rate
from distprop.kernels.tape import Call, Cell
from distprop.network.layout import Layout

Array = npt.NDArray[Any]


class Segments(NamedTuple):
    """A slice of the flat vectors cut into weights and the rest: bounds (K + 1,) int64, is_weight (K,) uint8."""

    bounds: Array
    is_weight: Array


REGULARISERS = 5  # scalars of `regularise`, which come before the optimizer's own


class Rule(NamedTuple):
    """What tells one optimizer from another.

    constants(optimizer): the kernel's arguments behind the learning rate. moments(optimizer): Adam's two, for its
    corrections.
    """

    slots: tuple[str, ...]
    kernel: Callable[..., None]
    constants: Callable[[Any], tuple[float, ...]]
    moments: Callable[[Any], tuple[float, ...]] = lambda optimizer: ()


def segments_of(layout: Layout, owned: slice) -> Segments:
    """The segments of the owned slice [start, stop) of the flat vectors; the gaps of the layout count as biases."""
    cuts = {owned.start, owned.stop}
    weights = [(parameter.offset, parameter.stop) for parameter in layout.parameters if parameter.is_weight]
    cuts |= {cut for span in weights for cut in span if owned.start < cut < owned.stop}
    bounds = sorted(cuts)
    flags = [any(first <= cut < stop for first, stop in weights) for cut in bounds[:-1]]
    return Segments(np.array(bounds, np.int64) - owned.start, np.array(flags, np.uint8))


class Updater:
    """An optimizer and its state for the owned slices of the parameters."""

    def __init__(
        self, optimizer: declared.Optimizer, layout: Layout, owned: Sequence[slice], dtype: npt.DTypeLike
    ) -> None:
        self._optimizer, self._rule = optimizer, RULES[optimizer.type]
        self._layout, self._owned = layout, owned
        *self._firsts, length = accumulate((own.stop - own.start for own in owned), initial=0)
        self._slots = {name: zeros((length,), dtype) for name in self._rule.slots}
        limit = math.inf if optimizer.clip_value is None else optimizer.clip_value
        constants = (1.0, limit, optimizer.l1, optimizer.l2, 0.0, 0.0, *self._rule.constants(optimizer))
        self._scalars = np.array(constants, dtype)
        self._rate = np.zeros(1)
        self._segments: dict[tuple[bytes, bytes], Segments] = {}

    @property
    def clips_norm(self) -> bool:
        """Whether the update needs the norm of the whole gradient."""
        return self._optimizer.clip_norm is not None

    @property
    def _regularises(self) -> bool:
        optimizer = self._optimizer
        clips = self.clips_norm or optimizer.clip_value is not None
        return clips or bool(optimizer.l1 or optimizer.l2 or optimizer.weight_decay)

    def slots(self) -> dict[str, Array]:
        """The state by name ("m", "v"): arrays (L,), of one owned slice behind the other, zero at the start.

        A checkpoint saves and fills them.
        """
        return self._slots

    def prepare(self, rates: Array, clock: Array, norm: Array) -> list[Call]:
        """Set the scalars of a step.

        rates[clock[DONE]]: its learning rate, with the schedule's factor in it; clock[STEP] counts from 0.
        norm (1,): the Euclidean norm of the whole gradient, if `clips_norm`.
        """
        optimizer = self._optimizer
        clip = math.inf if optimizer.clip_norm is None else optimizer.clip_norm
        given = (self._scalars, Cell(self._rate), optimizer.weight_decay, Cell(norm), clip)
        moments = self._rule.moments(optimizer)
        kernel = updates.adam_scalars if moments else updates.plain_scalars
        more = (*moments, Cell(clock, STEP)) if moments else ()
        return [
            Call(set_rate, (self._rate, rates, clock), "rate = schedule(step)", "update"),
            Call(kernel, (*given, *more), f"scalars = {kernel.__name__}(rate, norm, step)", "update"),
        ]

    def update(self, params: Array, gradient: Array, bucket: int, part: slice) -> list[Call]:
        """One step of descent, in place, for a part of an owned slice: params and gradient have its length.

        The gradient is overwritten.
        """
        first, at = self._owned[bucket].start, self._firsts[bucket]
        slots = [slot[at + part.start : at + part.stop] for slot in self._slots.values()]
        scalars = [Cell(self._scalars, number) for number in range(len(self._scalars))]
        text = f"params = {self._rule.kernel.__name__}({', '.join(('params', *self._slots, 'gradient'))})"
        descent = Call(self._rule.kernel, (params, *slots, gradient, *scalars[REGULARISERS:]), text, "update")
        if not self._regularises:
            return [descent]
        segments = self._known(segments_of(self._layout, slice(first + part.start, first + part.stop)))
        arguments = (gradient, params, *segments, *scalars[:REGULARISERS])
        return [
            Call(updates.regularise, arguments, "gradient, params = regularise(gradient, params)", "update"),
            descent,
        ]

    def _known(self, segments: Segments) -> Segments:
        """The first ones that were equal to these: calls that have arguments in common may become a loop."""
        return self._segments.setdefault((segments.bounds.tobytes(), segments.is_weight.tobytes()), segments)


def _nothing(optimizer: declared.Optimizer) -> tuple[float, ...]:
    return ()


def _momentum(optimizer: declared.Momentum | declared.Nesterov) -> tuple[float, ...]:
    return (optimizer.momentum,)


def _adagrad(optimizer: declared.AdaGrad) -> tuple[float, ...]:
    return (optimizer.epsilon,)


def _rmsprop(optimizer: declared.RMSprop) -> tuple[float, ...]:
    return optimizer.decay, 1 - optimizer.decay, optimizer.epsilon


def _adam(optimizer: declared.Adam | declared.AdamW) -> tuple[float, ...]:
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    return beta1, 1 - beta1, beta2, 1 - beta2, 0.0, optimizer.epsilon  # 0: root, which is set in each step


def _betas(optimizer: declared.Adam | declared.AdamW) -> tuple[float, ...]:
    return optimizer.beta1, optimizer.beta2


RULES = {
    "sgd": Rule((), updates.sgd_update, _nothing),
    "momentum": Rule(("v",), updates.momentum_update, _momentum),
    "nesterov": Rule(("v",), updates.nesterov_update, _momentum),
    "adagrad": Rule(("s",), updates.adagrad_update, _adagrad),
    "rmsprop": Rule(("s",), updates.rmsprop_update, _rmsprop),
    "adam": Rule(("m", "v"), updates.adam_update, _adam, _betas),
    "adamw": Rule(("m", "v"), updates.adam_update, _adam, _betas),
}
