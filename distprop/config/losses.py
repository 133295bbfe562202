"""Losses, as declarations. Each is the weighted mean over the samples of a minibatch: sum_n w_n l_n / sum_n w_n.

Targets are class labels or real values. A loss for real values takes class labels as one-hot rows.
"""

from dataclasses import field
from typing import Annotated, Literal, TypeAlias

from distprop.config.declaration import Fraction, Listed, Positive, Tagged, declaration

ClassWeights: TypeAlias = Literal["balanced"] | Annotated[tuple[Positive, ...], Listed()] | None


@declaration
class MeanSquaredError:
    """l = mean over outputs of (y - t)^2."""

    class_weights: ClassWeights = None
    """Weight of each class, in the order of the sorted labels; "balanced": samples / (classes * samples of the class).

    """
    type: Literal["mean_squared_error"] = field(default="mean_squared_error", kw_only=True)


@declaration
class MeanAbsoluteError:
    """l = mean over outputs of |y - t|."""

    class_weights: ClassWeights = None
    """Weight of each class, in the order of the sorted labels; "balanced": samples / (classes * samples of the class).

    """
    type: Literal["mean_absolute_error"] = field(default="mean_absolute_error", kw_only=True)


@declaration
class Huber:
    """l = mean over outputs of e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = y - t."""

    delta: Positive = 1.0
    """Where the loss turns from quadratic to linear."""
    class_weights: ClassWeights = None
    """Weight of each class, in the order of the sorted labels; "balanced": samples / (classes * samples of the class).

    """
    type: Literal["huber"] = field(default="huber", kw_only=True)


@declaration
class BinaryCrossEntropy:
    """l = mean over outputs of softplus(z) - t z, from logits z; t in [0, 1]."""

    class_weights: ClassWeights = None
    """Weight of each class, in the order of the sorted labels; "balanced": samples / (classes * samples of the class).

    """
    type: Literal["binary_cross_entropy"] = field(default="binary_cross_entropy", kw_only=True)


@declaration
class SoftmaxCrossEntropy:
    """l = logsumexp(z) - sum_c q_c z_c, from logits z, with q = (1 - s) one_hot(label) + s / classes."""

    label_smoothing: Fraction = 0.0
    """Part s of the target that is spread evenly over the classes."""
    class_weights: ClassWeights = None
    """Weight of each class, in the order of the sorted labels; "balanced": samples / (classes * samples of the class).

    """
    type: Literal["softmax_cross_entropy"] = field(default="softmax_cross_entropy", kw_only=True)


Loss: TypeAlias = Annotated[
    MeanSquaredError | MeanAbsoluteError | Huber | BinaryCrossEntropy | SoftmaxCrossEntropy, Tagged()
]
