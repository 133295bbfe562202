"""The walk of one minibatch: gather, forward, loss, backward, exchange, update."""

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.comm.exchange import Exchange
from distprop.comm.shards import shard_bounds
from distprop.errors import NonFiniteError
from distprop.kernels.metrics import correct_weights
from distprop.kernels.norms import BLOCK, block_square_sums, ordered_sum
from distprop.kernels.tree import column_sums
from distprop.network.graph import Graph
from distprop.network.layout import Layout
from distprop.network.program import Array, Buffers, Gradients, Program, compile_program
from distprop.training.minibatch import Minibatch, Minibatches
from distprop.training.optimizers import Updater

TAIL = 2  # sums that travel with the gradient: loss, and the weight of what was classified right


@dataclass(frozen=True)
class StepResult:
    """What a step tells, alike on every rank.

    loss: the minibatch's weighted sum, to be divided by weight; correct: the weight of what was classified right.
    """

    samples: int
    weight: float
    loss: float
    correct: float
    gradient_norm: float
    wishes: int  # of all ranks, see loop.py


@dataclass
class Seconds:
    """Where this rank's time went."""

    data: float = 0.0
    compute: float = 0.0
    exchange: float = 0.0
    update: float = 0.0


class Step:
    """Everything that lives across steps: the flat vectors, the buffers and the programs bound to them."""

    def __init__(
        self,
        graph: Graph,
        layout: Layout,
        constants: dict[str, Array],
        minibatches: Minibatches,
        exchange: Exchange,
        updater: Updater,
        shards: int,
        seed: int,
    ) -> None:
        self.graph, self.layout, self.constants, self.params = graph, layout, constants, exchange.params
        self.minibatches, self.exchange, self.updater = minibatches, exchange, updater
        self.seconds = Seconds()
        self._shards, self._seed = shards, seed
        self._clock = np.zeros(1, np.int64)
        self._buffers = Buffers(minibatches.most_rows, self.params.dtype)
        self._losses = np.zeros(minibatches.most_rows, self.params.dtype)
        self._row_sums = np.zeros((minibatches.most_rows, TAIL), np.float64)
        self._tree_levels = np.zeros((shards.bit_length(), TAIL), np.float64)
        own = exchange.owned.stop - exchange.owned.start
        self._blocks = np.zeros(-(-own // BLOCK), np.float64)
        self._tails = np.zeros((len(exchange.nodes), TAIL), np.float64)
        self._plans = {samples: self._plan(samples) for samples in minibatches.sizes()}

    def _plan(self, samples: int) -> "_Plan":
        """The program for a minibatch of so many samples, bound to this rank's part of it."""
        offsets = shard_bounds(samples, self._shards)
        first, last = self.minibatches.owned_rows(samples)
        bounds = [offsets[node[0] : node[1] + 1] - first for node in self.exchange.nodes]
        gradients = Gradients(
            partials=[self.layout.views(vector) for vector in self.exchange.partials],
            bounds=bounds,
            indices=self.minibatches.indices[first:last],
            clock=self._clock,
            seed=self._seed,
        )
        views = self.layout.views(self.params)
        program = compile_program(self.graph, views, self.constants, self._buffers, last - first, gradients)
        return _Plan(program, bounds)

    @property
    def program(self) -> Program:
        """The program of a full minibatch."""
        return self._plans[max(self._plans)].program

    def run(self, epoch: int, number: int, step: int, learning_rate: float, wish: int = 0) -> StepResult:
        """Train on minibatch `number` of an epoch; `step` counts from 0 over all epochs.

        Each rank may wish for something after this step; the result holds all ranks' wishes, as bits.
        Raises NonFiniteError, on every rank alike and before the update, if the loss or the gradient isn't finite.
        """
        begin = time.perf_counter()
        minibatch = self.minibatches.choose(epoch, number)
        plan = self._plans[minibatch.samples]
        inputs = self.minibatches.gather(minibatch, plan.program.input)
        gathered = time.perf_counter()
        self._clock[0] = step
        self._compute(plan, minibatch, *inputs)
        computed = time.perf_counter()
        gradient = self.exchange.reduce()
        block_square_sums(self._blocks, gradient)
        agreement = self.exchange.agree(self._tails, self._blocks, wish)
        exchanged = time.perf_counter()
        norm = math.sqrt(ordered_sum(agreement.blocks))
        loss = float(agreement.totals[0])
        if not (math.isfinite(norm) and math.isfinite(loss)):
            raise NonFiniteError(_non_finite(epoch, number, step, loss, minibatch.total_weight, norm))
        self.updater.update(self.params[self.exchange.owned], gradient, learning_rate, step, norm)
        updated = time.perf_counter()
        self.exchange.share()
        self._account(begin, gathered, computed, exchanged, updated)
        correct = float(agreement.totals[1])
        return StepResult(minibatch.samples, minibatch.total_weight, loss, correct, norm, agreement.wishes)

    def _compute(
        self, plan: "_Plan", minibatch: Minibatch, indices: Array, labels: Array, targets: Array, weights: Array
    ) -> None:
        """Forward, loss, backward: fills the partial gradients and the tails."""
        row_losses = self._losses[: len(indices)]
        scale = 1 / minibatch.total_weight if minibatch.total_weight > 0 else 0.0
        plan.program.run_forward()
        self.minibatches.target.compute_loss(plan.program, row_losses, targets, weights, scale)
        plan.program.run_backward()
        self._row_sums[: len(indices), 0] = row_losses
        if self.minibatches.target.classes:
            correct_weights(self._row_sums[: len(indices), 1], plan.program.output, labels, weights)
        for tail, bounds in zip(self._tails, plan.bounds, strict=True):
            column_sums(tail, self._row_sums, bounds, self._tree_levels)

    def _account(self, begin: float, gathered: float, computed: float, exchanged: float, updated: float) -> None:
        seconds = self.seconds
        seconds.data += gathered - begin
        seconds.compute += computed - gathered
        seconds.update += updated - exchanged
        seconds.exchange += exchanged - computed + time.perf_counter() - updated


@dataclass(frozen=True)
class _Plan:
    program: Program
    bounds: list[npt.NDArray[Any]]


def _non_finite(epoch: int, number: int, step: int, loss: float, weight: float, norm: float) -> str:
    mean = loss / weight if weight else loss
    return (
        f"not finite at step {step + 1} (epoch {epoch + 1}, minibatch {number + 1}): "
        f"loss {mean}, gradient norm {norm}; "
        "lower optimizer.learning_rate, set optimizer.clip_norm, or standardise the features"
    )
