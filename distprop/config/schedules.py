"""Learning-rate schedules, as declarations: a factor for the optimizer's learning rate at each step.

t is the time in epochs, as a fraction (steps done / steps an epoch); T the length of the whole training.
During the first `warmup` epochs the factor rises in a straight line, step by step, to the schedule's first value;
the schedule's own time, t and T, starts after it.
"""

from dataclasses import field
from typing import Annotated, Literal, TypeAlias

from distprop.config.declaration import Bounds, NotNegative, Positive, Tagged, declaration

Factor: TypeAlias = Annotated[float, Bounds(gt=0, le=1)]
Floor: TypeAlias = Annotated[float, Bounds(ge=0, le=1)]


@declaration
class Constant:
    """1."""

    warmup: NotNegative = 0.0
    """Epochs in which the factor rises from 0 in a straight line."""
    type: Literal["constant"] = field(default="constant", kw_only=True)


@declaration
class StepDecay:
    """factor ^ floor(t / every)."""

    every: Positive
    """Epochs between two falls."""
    factor: Factor = 0.1
    """What the learning rate is multiplied by at each fall."""
    warmup: NotNegative = 0.0
    """Epochs in which the factor rises from 0 in a straight line."""
    type: Literal["step"] = field(default="step", kw_only=True)


@declaration
class Exponential:
    """factor ^ t."""

    factor: Factor
    """What the learning rate is multiplied by in each epoch."""
    warmup: NotNegative = 0.0
    """Epochs in which the factor rises from 0 in a straight line."""
    type: Literal["exponential"] = field(default="exponential", kw_only=True)


@declaration
class Cosine:
    """floor + (1 - floor) (1 + cos(pi t / T)) / 2."""

    floor: Floor = 0.0
    """The factor never falls below this."""
    warmup: NotNegative = 0.0
    """Epochs in which the factor rises from 0 in a straight line."""
    type: Literal["cosine"] = field(default="cosine", kw_only=True)


@declaration
class Polynomial:
    """floor + (1 - floor) (1 - t / T) ^ power."""

    power: Positive = 1.0
    """Shape of the fall: 1 is a straight line."""
    floor: Floor = 0.0
    """The factor never falls below this."""
    warmup: NotNegative = 0.0
    """Epochs in which the factor rises from 0 in a straight line."""
    type: Literal["polynomial"] = field(default="polynomial", kw_only=True)


@declaration
class Plateau:
    """Multiplied by `factor` when the monitored loss has not improved by `min_delta` for `patience` epochs."""

    factor: Factor = 0.1
    """What the learning rate is multiplied by when the loss stands still."""
    patience: Annotated[int, Bounds(ge=0)] = 5
    """Epochs without improvement before a fall."""
    min_delta: NotNegative = 0.0
    """What counts as an improvement."""
    floor: Floor = 0.0
    """The factor never falls below this."""
    warmup: NotNegative = 0.0
    """Epochs in which the factor rises from 0 in a straight line."""
    type: Literal["plateau"] = field(default="plateau", kw_only=True)


Schedule: TypeAlias = Annotated[Constant | StepDecay | Exponential | Cosine | Polynomial | Plateau, Tagged()]
