"""The learning rate of each step, from the declared schedule.

Computed without the C library's cos and pow, whose last bits differ between systems: cosines come from Taylor's series,
powers from decimal arithmetic, which is exact to the digits that it is given everywhere.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.config import schedules as declared
from distprop.config.optimizers import Optimizer

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
        return self._rate * self.factor(step, plateau)

    def many(self, first: int, steps: int, plateau: PlateauState) -> npt.NDArray[np.float64]:
        """The learning rates (steps,) of some steps that follow each other."""
        if isinstance(self._schedule, declared.Constant | declared.Plateau) and first >= self._warmup:
            return np.full(steps, self.at(first, plateau))
        return np.array([self.at(step, plateau) for step in range(first, first + steps)])

    def factor(self, step: int, plateau: PlateauState) -> float:
        """The schedule's factor: step i of W steps of warm-up gets (i + 1) / W of its first value."""
        if step < self._warmup:
            return (step + 1) / self._warmup * self._own(0, plateau)
        return self._own(step - self._warmup, plateau)

    def observe(self, plateau: PlateauState, monitored: float) -> PlateauState:
        """The state after an epoch with this number; lower is better, what is not finite is no improvement."""
        if isinstance(self._schedule, declared.Plateau):
            return observe(self._schedule, plateau, monitored)
        return plateau

    def _own(self, step: int, plateau: PlateauState) -> float:
        """The factor at a step of the schedule's own time, which starts after the warm-up."""
        if isinstance(self._schedule, declared.Plateau):
            return plateau.factor
        return _FACTORS[self._schedule.type](self._schedule, step, self._steps_per_epoch, self._own_steps)


def observe(schedule: declared.Plateau, state: PlateauState, monitored: float) -> PlateauState:
    """After `patience` epochs without improvement (0 is like 1), lower the factor and start to count again."""
    if math.isfinite(monitored) and (state.best is None or monitored < state.best - schedule.min_delta):
        return replace(state, best=monitored, waited=0)
    if state.waited + 1 < schedule.patience:
        return replace(state, waited=state.waited + 1)
    return replace(state, waited=0, factor=max(state.factor * schedule.factor, schedule.floor))


def cosine_of_pi(t: float) -> float:
    """cos(pi t) for t in [0, 1]."""
    if t > 0.5:
        return -cosine_of_pi(1 - t)
    if t > 0.25:
        z = _PI * (0.5 - t)
        return z * _series(z * z, 2)  # sin z = z (1 - z^2 / (2 * 3) (1 - z^2 / (4 * 5) ...))
    z = _PI * t
    return _series(z * z, 1)  # cos z = 1 - z^2 / (1 * 2) (1 - z^2 / (3 * 4) ...)


def _series(square: float, first: int) -> float:
    """1 - z^2 / (f (f + 1)) (1 - z^2 / ((f + 2) (f + 3)) ...) to float64's last digit, for z up to pi / 4."""
    total = 1.0
    for k in range(first + 16, first - 1, -2):
        total = 1 - square / (k * (k + 1)) * total
    return total


def power(base: float, exponent: float) -> float:
    """base^exponent for base >= 0 and exponent > 0, or base > 0 and exponent >= 0."""
    if exponent == int(exponent):
        return float(_ARITHMETIC.power(Decimal(base), int(exponent)))
    return float(_ARITHMETIC.exp(_ARITHMETIC.multiply(_logarithm(base), Decimal(exponent))))


@functools.lru_cache(maxsize=64)
def _logarithm(number: float) -> Decimal:
    return _ARITHMETIC.ln(Decimal(number))


# Each: the factor at a step of the schedule's own time, given the steps of an epoch and of the whole of that time.


def _constant(schedule: declared.Constant, step: int, steps_per_epoch: int, steps: int) -> float:
    return 1.0


def _step_decay(schedule: declared.StepDecay, step: int, steps_per_epoch: int, steps: int) -> float:
    # In steps: 0.1 epochs of 10 steps are one step, while 0.3 / 0.1 would be rounded to below 3.
    return power(schedule.factor, math.floor(step / (schedule.every * steps_per_epoch)))


def _exponential(schedule: declared.Exponential, step: int, steps_per_epoch: int, steps: int) -> float:
    return power(schedule.factor, step / steps_per_epoch)


def _cosine(schedule: declared.Cosine, step: int, steps_per_epoch: int, steps: int) -> float:
    floor = schedule.floor
    return floor + (1 - floor) * ((1 + cosine_of_pi(min(step / steps, 1.0))) / 2)


def _polynomial(schedule: declared.Polynomial, step: int, steps_per_epoch: int, steps: int) -> float:
    floor = schedule.floor
    return floor + (1 - floor) * power(max(1 - step / steps, 0.0), schedule.power)


_FACTORS: dict[str, Callable[[Any, int, int, int], float]] = {
    "constant": _constant,
    "step": _step_decay,
    "exponential": _exponential,
    "cosine": _cosine,
    "polynomial": _polynomial,
}
