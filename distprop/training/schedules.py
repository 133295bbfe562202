"""The learning rate of each step, from the declared schedule.

Computed without the C library's cos and pow, whose last bits differ between systems: cosines come from Taylor's series,
powers from decimal arithmetic, which is exact to the digits that it is given everywhere.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from itertools import repeat
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from distprop.config import schedules as declared
from distprop.config.optimizers import Optimizer

Numbers: TypeAlias = npt.NDArray[np.float64]
Steps: TypeAlias = npt.NDArray[np.int64]

_PI = 3.141592653589793
_ARITHMETIC = Context(prec=25, traps=[])  # eight digits more than a float64 has


@dataclass(frozen=True)
class PlateauState:
    """What the plateau schedule remembers; a checkpoint keeps it."""

    best: float | None = None  # lowest number so far that was better than the one before by min_delta
    waited: int = 0  # epochs since then, or since the factor was last lowered
    factor: float = 1.0


class LearningRate:
    """The learning rate of an optimizer under a schedule; steps and epochs are those of the whole training."""

    def __init__(
        self, optimizer: Optimizer, schedule: declared.Schedule, steps_per_epoch: int, total_steps: int
    ) -> None:
        self._rate, self._schedule = optimizer.learning_rate, schedule
        self._steps_per_epoch = steps_per_epoch
        self._warmup = round(schedule.warmup * steps_per_epoch)
        self._own_steps = max(total_steps - self._warmup, 1)

    def at(self, step: int, plateau: PlateauState) -> float:
        """The learning rate of a step, counted from 0."""
        return float(self.many(step, 1, plateau)[0])

    def many(self, first: int, steps: int, plateau: PlateauState) -> Numbers:
        """The learning rates (steps,) of some steps that follow each other.

        Step i of W steps of warm-up gets (i + 1) / W of the schedule's first value.
        """
        numbers = np.arange(first, first + steps)
        if first >= self._warmup:
            return self._rate * self._own(numbers - self._warmup, plateau)
        own = self._own(np.maximum(numbers - self._warmup, 0), plateau)
        warm = np.where(numbers < self._warmup, (numbers + 1) / max(self._warmup, 1), 1.0)
        return self._rate * (warm * own)

    def observe(self, plateau: PlateauState, monitored: float) -> PlateauState:
        """The state after an epoch with this number; lower is better, what is not finite is no improvement."""
        if isinstance(self._schedule, declared.Plateau):
            return observe(self._schedule, plateau, monitored)
        return plateau

    def _own(self, steps: Steps, plateau: PlateauState) -> Numbers:
        """The factors at some steps of the schedule's own time, which starts after the warm-up."""
        if isinstance(self._schedule, declared.Plateau):
            return np.full(len(steps), plateau.factor)
        return _FACTORS[self._schedule.type](self._schedule, steps, self._steps_per_epoch, self._own_steps)


def observe(schedule: declared.Plateau, state: PlateauState, monitored: float) -> PlateauState:
    """After `patience` epochs without improvement (0 is like 1), lower the factor and start to count again."""
    if math.isfinite(monitored) and (state.best is None or monitored < state.best - schedule.min_delta):
        return replace(state, best=monitored, waited=0)
    if state.waited + 1 < schedule.patience:
        return replace(state, waited=state.waited + 1)
    return replace(state, waited=0, factor=max(state.factor * schedule.factor, schedule.floor))


def cosine_of_pi(t: npt.ArrayLike) -> Numbers:
    """cos(pi t) for t in [0, 1]."""
    given = np.asarray(t, np.float64)
    mirrored = np.where(given > 0.5, 1 - given, given)
    is_sine = mirrored > 0.25
    z = _PI * np.where(is_sine, 0.5 - mirrored, mirrored)
    sine = z * _series(z * z, 2)  # sin z = z (1 - z^2 / (2 * 3) (1 - z^2 / (4 * 5) ...))
    cosine = np.where(is_sine, sine, _series(z * z, 1))  # cos z = 1 - z^2 / (1 * 2) (1 - z^2 / (3 * 4) ...)
    return np.where(given > 0.5, -cosine, cosine)


def _series(square: Numbers, first: int) -> Numbers:
    """1 - z^2 / (f (f + 1)) (1 - z^2 / ((f + 2) (f + 3)) ...) to float64's last digit, for z up to pi / 4."""
    total = np.ones_like(square)
    for k in range(first + 16, first - 1, -2):
        total = 1 - square / (k * (k + 1)) * total
    return total


def power(base: float, exponent: float) -> float:
    """base^exponent for base >= 0 and exponent > 0, or base > 0 and exponent >= 0."""
    if exponent == 1:
        return base
    if exponent == int(exponent):
        return float(_ARITHMETIC.power(Decimal(base), int(exponent)))
    return float(_ARITHMETIC.exp(_ARITHMETIC.multiply(_logarithm(base), Decimal(exponent))))


@functools.lru_cache(maxsize=64)
def _logarithm(number: float) -> Decimal:
    return _ARITHMETIC.ln(Decimal(number))


def _powers(bases: Iterable[float], exponents: Iterable[float]) -> Numbers:
    return np.array([power(base, exponent) for base, exponent in zip(bases, exponents, strict=False)])


# Each: the factors at some steps of the schedule's own time, given the steps of an epoch and of the whole of that time.


def _constant(schedule: declared.Constant, step: Steps, steps_per_epoch: int, steps: int) -> Numbers:
    return np.ones(len(step))


def _step_decay(schedule: declared.StepDecay, step: Steps, steps_per_epoch: int, steps: int) -> Numbers:
    # In steps: 0.1 epochs of 10 steps are one step, while 0.3 / 0.1 would be rounded to below 3.
    decays, places = np.unique(np.floor(step / (schedule.every * steps_per_epoch)), return_inverse=True)
    return _powers(repeat(schedule.factor), decays.tolist())[places]


def _exponential(schedule: declared.Exponential, step: Steps, steps_per_epoch: int, steps: int) -> Numbers:
    return _powers(repeat(schedule.factor), (step / steps_per_epoch).tolist())


def _cosine(schedule: declared.Cosine, step: Steps, steps_per_epoch: int, steps: int) -> Numbers:
    floor = schedule.floor
    return floor + (1 - floor) * ((1 + cosine_of_pi(np.minimum(step / steps, 1.0))) / 2)


def _polynomial(schedule: declared.Polynomial, step: Steps, steps_per_epoch: int, steps: int) -> Numbers:
    floor, left = schedule.floor, np.maximum(1 - step / steps, 0.0)
    return floor + (1 - floor) * _powers(left.tolist(), repeat(schedule.power))


_FACTORS: dict[str, Callable[[Any, Steps, int, int], Numbers]] = {
    "constant": _constant,
    "step": _step_decay,
    "exponential": _exponential,
    "cosine": _cosine,
    "polynomial": _polynomial,
}
