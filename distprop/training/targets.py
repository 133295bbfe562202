"""What a loss compares the network's output with: class labels, or rows of real values.

Shapes: N rows of a rank's part of a minibatch, O outputs, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.config.losses import (
    BinaryCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)
from distprop.data import encoding
from distprop.data.dataset import Dataset
from distprop.data.encoding import Encoding
from distprop.kernels import gather, losses
from distprop.kernels.memory import zeros
from distprop.kernels.tape import Call, Cell
from distprop.network.program import Array, Program


@dataclass(frozen=True)
class Target:
    """How the targets of a data set meet the loss of a network that fits them."""

    loss: Loss
    encoding: encoding.Target
    outputs: int

    @property
    def classes(self) -> int:
        """How many classes there are; 0: the targets are real values."""
        return len(self.encoding.classes)

    @property
    def uses_labels(self) -> bool:
        return isinstance(self.loss, SoftmaxCrossEntropy)

    def class_weights(self, encoding: Encoding, dtype: npt.DTypeLike) -> Array | None:
        """The weight of each class (C,), or None. "balanced": rows / (classes * rows of the class)."""
        declared = self.loss.class_weights
        if declared is None:
            return None
        if declared == "balanced":
            counts = np.asarray(encoding.statistics.class_counts if encoding.statistics else (), np.float64)
            balanced: Array = (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(dtype)
            return balanced
        return np.asarray(declared, dtype)

    def rows(self, rows: int, dtype: npt.DTypeLike) -> Array:
        """An array for the targets of some rows: labels (N,) int32 or values (N, O)."""
        return zeros((rows,), np.int32) if self.uses_labels else zeros((rows, self.outputs), dtype)

    def gather(self, out: Array, labels: Array, data: Dataset, indices: Array) -> list[Call]:
        """out = the targets of the samples `indices` (N,); labels (N,) int32 = their class labels, if there are any."""
        if not self.classes:
            return [_call(gather.gather_rows, (out, data.targets, indices), "targets = gather_rows(indices)")]
        calls = [_call(gather.gather_labels, (labels, data.labels, indices), "labels = gather_labels(indices)")]
        if self.uses_labels:
            calls.append(_call(gather.gather_labels, (out, data.labels, indices), "targets = labels"))
        elif self.outputs == 1:
            calls.append(_call(gather.gather_labels, (out.reshape(-1), data.labels, indices), "targets = labels"))
        else:
            calls.append(_call(gather.one_hot_rows, (out, labels), "targets = one_hot_rows(labels)"))
        return calls

    def loss_call(self, program: Program, row_losses: Array, targets: Array, weights: Array, scale: Array) -> Call:
        """row_losses (N,) = weights * loss of each row; program.output_gradient (N, O) = its gradient * scale (1,)."""
        loss, dz, z = self.loss, program.output_gradient, program.output
        more: tuple[Any, ...] = ()
        if isinstance(loss, SoftmaxCrossEntropy):
            more = (z.dtype.type(loss.label_smoothing), zeros(row_losses.shape, row_losses.dtype))
        elif isinstance(loss, Huber):
            more = (z.dtype.type(loss.delta),)
        kernel = KERNELS[type(loss)]
        text = f"losses, d(output) = {kernel.__name__}(output, targets, weights, scale)"
        return Call(kernel, (row_losses, dz, z, targets, weights, Cell(scale), *more), text, "forward")


def _call(kernel: Callable[..., Any], arguments: tuple[Any, ...], text: str) -> Call:
    return Call(kernel, arguments, text, "data")


KERNELS: dict[type[Loss], Callable[..., Any]] = {
    SoftmaxCrossEntropy: losses.softmax_cross_entropy,
    Huber: losses.huber,
    MeanSquaredError: losses.mean_squared_error,
    MeanAbsoluteError: losses.mean_absolute_error,
    BinaryCrossEntropy: losses.binary_cross_entropy,
}
