"""Exact evaluation: every sample counts once, with its weight, on any number of ranks.

The data are cut into blocks of BLOCK_ROWS rows. Each rank evaluates a run of blocks; the blocks' sums, in float64, are
handed to all ranks, and every rank adds them from the first to the last.

Numbers reported: loss; for classes accuracy and top_k_accuracy, and the confusion matrix (rows: true, columns:
predicted); for values mae (mean absolute error), mse and r2 (1 - residual sum of squares / total sum of squares), each
over all outputs together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Communicator
from distprop.data.dataset import Dataset
from distprop.kernels import elementwise, gather, metrics, norms
from distprop.kernels.tree import column_sums
from distprop.network.graph import Graph
from distprop.network.program import Array, Buffers, Program, compile_program
from distprop.training.targets import Target

BLOCK_ROWS = 256


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found. numbers: by name, in the order in which they are shown."""

    numbers: dict[str, float]
    confusion: npt.NDArray[np.int64] | None


class Evaluator:
    """Evaluates parameters, as they are at the time, on one data set."""

    def __init__(
        self,
        graph: Graph,
        params: dict[str, Array],
        constants: dict[str, Array],
        data: Dataset,
        target: Target,
        comm: Communicator,
        dtype: npt.DTypeLike,
        class_weights: Array | None,
        top_k: int,
    ) -> None:
        self._graph, self._params, self._constants = graph, params, constants
        self._data, self._target, self._comm = data, target, comm
        self._matrix = data.matrix
        self._class_weights, self._top_k = class_weights, top_k
        self._buffers = Buffers(BLOCK_ROWS, dtype)
        self._labels = np.zeros(BLOCK_ROWS, np.int32)
        self._targets = target.rows(BLOCK_ROWS, dtype)
        self._weights = np.ones(BLOCK_ROWS, dtype)
        self._losses, self._one = np.zeros(BLOCK_ROWS, dtype), np.ones(1, dtype)
        self._programs: dict[int, Program] = {}
        self._shift = self._first_target()

    def run(self, tick: Callable[[], None] = lambda: None) -> Evaluation:
        """Evaluate: a collective, with the same result on every rank. tick: called before each block of samples."""
        comm, blocks = self._comm, -(-len(self._data) // BLOCK_ROWS)
        cuts = [rank * blocks // comm.size for rank in range(comm.size + 1)]
        sums = np.zeros((blocks, self._width()), np.float64)
        classes = self._target.classes
        confusion = np.zeros((classes, classes), np.int64)
        for block in range(cuts[comm.rank], cuts[comm.rank + 1]):
            tick()
            self._evaluate_block(block, sums[block], confusion)
        comm.allgather_slices(sums.ravel(), [cut * sums.shape[1] for cut in cuts])
        comm.allreduce(confusion)  # integers: exact in any order
        totals = np.zeros(sums.shape[1], np.float64)
        bounds = np.array([0, blocks], np.int64)
        column_sums(totals, sums, bounds, np.zeros((1, sums.shape[1])))
        return self._conclude(totals, confusion if classes else None)

    def _width(self) -> int:
        """Sums of a block: loss and its weight, then those of the metrics kernels."""
        return 2 + (3 if self._target.classes else 5 * self._target.outputs)

    def _first_target(self) -> npt.NDArray[np.float64]:
        """Values near which the targets lie, so that their variance doesn't drown in rounding."""
        if self._target.classes:
            return np.zeros(1)
        first = 0 if self._data.rows is None else int(self._data.rows[0])
        assert self._data.targets is not None
        return np.asarray(self._data.targets[first], np.float64).reshape(-1)

    def _program(self, rows: int) -> Program:
        if rows not in self._programs:
            self._programs[rows] = compile_program(self._graph, self._params, self._constants, self._buffers, rows)
        return self._programs[rows]

    def _evaluate_block(self, block: int, sums: Array, confusion: Array) -> None:
        data, target = self._data, self._target
        indices = np.arange(block * BLOCK_ROWS, min(len(data), (block + 1) * BLOCK_ROWS), dtype=np.int64)
        rows = len(indices)
        if data.rows is not None:
            indices = np.asarray(data.rows[indices], np.int64)
        program = self._program(rows)
        labels, targets, weights = self._labels[:rows], self._targets[:rows], self._weights[:rows]
        gather.gather_rows(program.input, self._matrix, indices)
        for call in target.gather(targets, labels, data, indices):
            call()
        if data.weights is not None:
            gather.gather_values(weights, data.weights, indices)
        program.run_forward()
        self._metrics(sums[2:], confusion, program.output, labels, targets, weights)
        if self._class_weights is not None:
            weights = weights.copy()
            elementwise.weigh_classes(weights, labels, self._class_weights)
        target.loss_call(program, self._losses[:rows], targets, weights, self._one)()
        sums[0] = norms.ordered_sum(self._losses[:rows])
        sums[1] = norms.ordered_sum(weights)

    def _metrics(self, sums: Array, confusion: Array, z: Array, labels: Array, targets: Array, weights: Array) -> None:
        if not self._target.classes:
            metrics.regression_sums(sums.reshape(-1, 5), z, targets, weights, self._shift)
        elif self._target.outputs == 1:
            metrics.binary_sums(sums, confusion, z, labels, weights, self._top_k)
        else:
            metrics.classification_sums(sums, confusion, z, labels, weights, self._top_k)

    def _conclude(self, totals: Array, confusion: npt.NDArray[np.int64] | None) -> Evaluation:
        numbers = {"loss": _ratio(totals[0], totals[1])}
        if confusion is not None:
            weight, correct, in_top = totals[2:]
            numbers["accuracy"] = _ratio(correct, weight)
            if self._target.classes > self._top_k:
                numbers[f"top_{self._top_k}_accuracy"] = _ratio(in_top, weight)
            return Evaluation(numbers, confusion)
        weight, first, second, absolute, squared = totals[2:].reshape(-1, 5).T
        numbers["mae"] = _ratio(absolute.sum(), weight.sum())
        numbers["mse"] = _ratio(squared.sum(), weight.sum())
        numbers["r2"] = _r_squared(weight, first, second, squared)
        return Evaluation(numbers, None)


def _ratio(sum_: Any, weight: Any) -> float:
    return float(sum_) / float(weight) if weight > 0 else float("nan")


def _r_squared(weight: Array, first: Array, second: Array, squared: Array) -> float:
    """1 - sum w (y - t)^2 / sum w (t - mean t)^2, sums over all outputs; NaN if the targets are constant."""
    spread = float(np.cumsum(second - first * first / np.where(weight > 0, weight, 1))[-1])
    return 1 - float(np.cumsum(squared)[-1]) / spread if spread > 0 else float("nan")
