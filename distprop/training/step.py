"""The walk of a minibatch as one tape: gather, forward, loss, backward, exchange, update.

Where ranks share memory a tape is all machine code, and many steps are one call; where messages have to be sent it is
machine code between them.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distprop.comm.exchange import Exchange
from distprop.comm.shards import Node, passes_of, shard_bounds
from distprop.comm.slices import TAIL, blocks_of
from distprop.errors import NonFiniteError
from distprop.kernels.digests import DIVERGED
from distprop.kernels.memory import zeros
from distprop.kernels.metrics import correct_weights
from distprop.kernels.norms import BLOCK, block_square_sums
from distprop.kernels.past_caches import LONG, store_past_caches
from distprop.kernels.step import (
    CLOCK,
    DONE,
    EPOCH,
    FIRST,
    NOT_FINITE,
    STEP,
    check_finite,
    copy_losses,
    finish_step,
)
from distprop.kernels.tape import Call, Item, Record, Tape
from distprop.kernels.tree import column_sums
from distprop.network.graph import Graph
from distprop.network.layout import Layout
from distprop.network.program import Array, Buffers, Gradients, Program, compile_program
from distprop.training.guards import Digests
from distprop.training.minibatch import Minibatches
from distprop.training.optimizers import Updater

PHASES = ("data", "forward", "backward", "exchange", "update", "wait")
MOST_STEPS = 4096  # in one run: the length of the table of learning rates

# Reduce, norm and update go through the owned slice in parts that stay in the second cache: equal ones, but for the
# last, so that a compiled tape has a loop over them.
PART = 32 * BLOCK  # elements

WISHES, PATIENCE, NANOSECONDS = 0, 1, slice(2, 2 + len(PHASES))  # words that ranks tell each other; see guards.py too


@dataclass(frozen=True)
class StepsResult:
    """What some steps tell, alike on every rank.

    sums: loss, correct, weight of the epoch so far: weighted sums; the others are of the last minibatch.
    """

    steps: int
    samples: int  # of all these steps
    sums: tuple[float, float, float]
    weight: float
    loss: float  # the minibatch's weighted sum, to be divided by weight
    gradient_norm: float
    wishes: int  # of all ranks, see loop.py
    patience: int  # rank 0's: how many steps it would like to be run next
    seconds: npt.NDArray[np.float64]  # (size, len(PHASES)): where each rank's time went, until these steps began
    digest: tuple[int, int] | None = None  # of the parameters, and after how many steps, if it was taken


@dataclass(frozen=True)
class Leftovers:
    """What a rank's last pass over a minibatch leaves: N rows.

    indices (N,): the rows of the training data; losses (N,); matrices: name, kind and array (N, ...) of all values and
    gradients, see Buffers; earlier: the rows of the training data that this rank's passes before it had;
    all_matrices: the same as matrices, but for the whole minibatch if the gradient is shared out.
    """

    program: Program
    indices: npt.NDArray[np.int64]
    losses: Array
    matrices: list[tuple[str, str, Array]]
    earlier: npt.NDArray[np.int64]
    all_matrices: list[tuple[str, str, Array]]


class Step:
    """Everything that lives across steps: the flat vectors, the buffers and the tapes bound to them.

    params_are_set: whether parameters have been set otherwise than by steps.
    """

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
        passes: int = 1,
        digest_every: int = 1,
        blocks: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.graph, self.layout, self.constants, self.params = graph, layout, constants, exchange.params
        self.minibatches, self.exchange, self.updater = minibatches, exchange, updater
        self._shards, self._seed, self._blocks = shards, seed, blocks or {}
        self._runs = passes_of((exchange.nodes[0][0], exchange.nodes[-1][1]), passes)
        self._clock, self._rates = np.zeros(CLOCK, np.int64), np.zeros(MOST_STEPS)
        self._sums, self._norm = np.zeros(3), np.zeros(1)
        all_rows = [self._rows(samples, run) for samples in minibatches.sizes() for run in self._runs]
        most_rows = max(rows.stop - rows.start for rows in all_rows)
        rows_of_buffers = max(minibatches.sizes()) if exchange.is_shared_out else most_rows
        self._buffers = Buffers(rows_of_buffers, self.params.dtype, exchange.zeros)
        self._losses = zeros((most_rows,), self.params.dtype)
        self._row_sums = zeros((most_rows, TAIL), np.float64)
        self._tree_levels = np.zeros((shards.bit_length(), TAIL))
        sizes = [parts.shape[1] if len(parts) > 1 else 0 for parts in exchange.parts]
        if updater.clips_norm:  # all of the gradient has to be there before any of it is used
            self._gradients = [zeros((size,), self.params.dtype) for size in sizes]
        else:
            self._gradients = [zeros((min(max(sizes), PART),), self.params.dtype)] * len(sizes)
        slices = [self.params[owned] for owned in exchange.owned] if exchange.shares_params else []
        is_long = max((some.size for some in slices), default=0) >= LONG
        self._own = [zeros(some.shape, some.dtype) for some in slices] if is_long else []  # what this rank updates
        self.params_are_set = True
        self._programs = {
            samples: [self._program(samples, run) for run in self._runs] for samples in minibatches.sizes()
        }
        self._tapes: dict[int, Tape] = {}
        self.digests = Digests(exchange, digest_every, self._clock)

    @property
    def program(self) -> Program:
        """The program of a full minibatch, or of its first pass."""
        return self._programs[max(self._programs)][0]

    @property
    def is_compiled(self) -> bool:
        """Whether the steps that have been run are machine code by now."""
        return all(tape.is_compiled for tape in self._tapes.values())

    def run(
        self,
        epoch: int,
        number: int,
        step: int,
        rates: Array,
        sums: tuple[float, ...],
        wishes: int = 0,
        patience: int = 1,
        record: Record | None = None,
    ) -> StepsResult:
        """Train on minibatches of one size, from `number` of an epoch on, one for each learning rate.

        `step` counts from 0 over all epochs; sums: loss, correct, weight of the epoch so far. Each rank may wish for
        something after these steps, and say how many it would like next; the result holds all ranks' wishes, as bits.
        record: told of every call.
        Raises NonFiniteError, on every rank alike, if a loss or a gradient isn't finite, DisagreementError if copies of
        the parameters differ; params are useless then.
        """
        minibatches, exchange, clock = self.minibatches, self.exchange, self._clock
        first = number * minibatches.batch_size
        samples = min(minibatches.batch_size, len(minibatches.data) - first)
        if samples not in self._tapes:
            self._tapes[samples] = Tape(self._calls(samples), PHASES)
        clock[EPOCH], clock[STEP], clock[FIRST], clock[DONE] = epoch, step, first, 0
        self._rates[: len(rates)], self._sums[:] = rates, sums
        self.digests.begin(step)
        self._read_params()
        exchange.words[WISHES], exchange.words[PATIENCE] = wishes, patience
        exchange.words[NANOSECONDS] = sum(tape.nanoseconds for tape in self._tapes.values())
        code = self._tapes[samples].run(len(rates), exchange.waiting, record)
        done, weight, loss = int(clock[DONE]), float(minibatches.total_weight[0]), float(exchange.totals[0])
        norm = float(self._norm[0])
        if code == NOT_FINITE:
            exchange.settle()
            raise NonFiniteError(_non_finite(epoch, number + done, step + done, loss, weight, norm))
        if code == DIVERGED:
            exchange.settle()
            self.digests.during(step, done)
            raise self.digests.diverged(step + done)
        assert code == 0, f"a kernel has failed at step {step + done + 1}"
        all_wishes = functools.reduce(operator.or_, exchange.all_words[:, WISHES].tolist())
        loss_sum, correct_sum, weight_sum = self._sums.tolist()
        return StepsResult(
            done, done * samples, (loss_sum, correct_sum, weight_sum), weight, loss, norm, all_wishes,
            int(exchange.all_words[0, PATIENCE]), exchange.all_words[:, NANOSECONDS] * 1e-9,
            self.digests.during(step, done),
        )  # fmt: skip

    def _read_params(self) -> None:
        """Into the copies of the owned slices, unless they are there."""
        if not self.params_are_set:
            return
        for own, owned in zip(self._own, self.exchange.owned, strict=False):
            own[:] = self.params[owned]
        self.params_are_set = False

    def leftovers(self, samples: int) -> Leftovers:
        """Of the last minibatch, which had so many samples."""
        rows, program, indices = (
            self._rows(samples, self._runs[-1]),
            self._programs[samples][-1],
            self.minibatches.indices,
        )
        count, begin = rows.stop - rows.start, self._rows(samples, self._runs[0]).start
        first = rows.start if self.exchange.is_shared_out else 0
        matrices = self._buffers.matrices(slice(first, first + count))
        all_matrices = self._buffers.matrices(slice(samples)) if self.exchange.is_shared_out else matrices
        earlier = indices[begin : rows.start]
        return Leftovers(program, indices[rows], self._losses[:count], matrices, earlier, all_matrices)

    def reduced(self) -> list[tuple[slice, Array]]:
        """This rank's slices of the last gradient, with their places: computed again."""
        slices = [np.zeros(own.stop - own.start, self.params.dtype) for own in self.exchange.owned]
        for bucket, gradient in enumerate(slices):
            if len(self.exchange.parts[bucket]) > 1:
                for call in self.exchange.sum_parts(bucket, gradient, slice(None)):
                    call()
            else:
                gradient[:] = self.exchange.parts[bucket][0]
        return list(zip(self.exchange.owned, slices, strict=True))

    def _rows(self, samples: int, run: Node) -> slice:
        """The rows of a run of shards in a minibatch of so many samples."""
        offsets = shard_bounds(samples, self._shards)
        return slice(int(offsets[run[0]]), int(offsets[run[1]]))

    def _bounds(self, samples: int, run: Node) -> dict[int, npt.NDArray[np.int64]]:
        """For each node of a run, by its number, the row offsets of its shards among the run's rows."""
        offsets = shard_bounds(samples, self._shards) - self._rows(samples, run).start
        nodes = enumerate(self.exchange.nodes)
        return {n: offsets[first : last + 1] for n, (first, last) in nodes if run[0] <= first and last <= run[1]}

    def _program(self, samples: int, run: Node) -> Program:
        """The program for a run of shards of a minibatch of so many samples."""
        rows, exchange = self._rows(samples, run), self.exchange
        keys = self.minibatches.indices[rows], self._clock[STEP : STEP + 1], self._seed
        if exchange.is_shared_out:
            parts = list(self.layout.views_of(exchange.owned[0], exchange.partials[0]))
            begins, views = {name: begin for name, begin, _ in parts}, {name: view for name, _, view in parts}
            gradients = Gradients([views], [shard_bounds(samples, self._shards)], *keys, {}, rows.start, begins)
        else:
            bounds = self._bounds(samples, run)
            partials = [self.layout.views(exchange.partials[node]) for node in bounds]
            gradients = Gradients(partials, list(bounds.values()), *keys, self._blocks)
        views = self.layout.views(self.params)
        return compile_program(self.graph, views, self.constants, self._buffers, rows.stop - rows.start, gradients)

    def _calls(self, samples: int) -> list[Item]:
        """The whole walk."""
        minibatches, exchange, updater = self.minibatches, self.exchange, self.updater
        before, after = self._learning(samples)
        calls: list[Item] = [*minibatches.choose(samples, self._clock), *exchange.forward(before)]
        calls.append(self.digests.compute())
        prepare = updater.prepare(self._rates, self._clock, self._norm)
        check = Call(
            check_finite,
            (self._norm, exchange.all_blocks, exchange.totals),
            "norm = sqrt(sum(blocks)), finite?",
            "update",
        )
        if updater.clips_norm:
            calls += exchange.backward(after)
            calls += [call for bucket in self._buckets for call in self._reduced(samples, bucket)]
            calls += [*exchange.agree(), *self.digests.compare(), check, *prepare]
            parts = [(bucket, part) for bucket in self._buckets for part in self._parts(bucket)]
            calls += [call for bucket, part in parts for call in self._update(bucket, part)]
            calls += exchange.share()
        else:
            update = functools.partial(self._reduced, samples, updates=True)
            calls = [*prepare, *calls, *exchange.backward_and_update(after, update), *self.digests.compare(), check]
        arguments = (self._sums, self._clock, exchange.totals, minibatches.total_weight, samples)
        return [*calls, Call(finish_step, arguments, "sums += loss, correct, weight", "update")]

    def _learning(self, samples: int) -> tuple[list[Call], list[Call]]:
        """Gather, forward, loss, backward, pass by pass: fills the partial gradients and the tails.

        The first list has those calls that come before any gradient.
        """
        minibatches = self.minibatches
        before: list[Call] = []
        after: list[Call] = []
        for number, (run, program) in enumerate(zip(self._runs, self._programs[samples], strict=True)):
            gather = minibatches.gather(self._rows(samples, run), program.input)
            if number == 0:
                before = [*gather, *program.forward]
            else:
                after += [*gather, *program.forward]
            after += [*self._loss(program, samples, run), *program.backward]
        return before, after

    def _loss(self, program: Program, samples: int, run: Node) -> list[Call]:
        """The loss and its gradient, and the sums of a run's nodes."""
        minibatches, rows = self.minibatches, self._rows(samples, run)
        count, weights = rows.stop - rows.start, minibatches.weights[rows]
        losses, sums = self._losses[:count], self._row_sums[:count]
        targets = minibatches.targets[:count]
        calls = [
            minibatches.target.loss_call(program, losses, targets, weights, minibatches.scale),
            Call(copy_losses, (sums[:, 0], losses), "sums = losses", "forward"),
        ]
        if minibatches.target.classes:
            arguments = (sums[:, 1], program.output, minibatches.labels[:count], weights)
            calls.append(Call(correct_weights, arguments, "sums += weights of what is right", "forward"))
        for node, bounds in self._bounds(samples, run).items():
            given = (self.exchange.tails[node], self._row_sums, bounds, self._tree_levels)
            calls.append(Call(column_sums, given, "loss, correct = column_sums(sums)", "forward"))
        return calls

    @property
    def _buckets(self) -> range:
        return range(len(self.exchange.owned))

    def _parts(self, bucket: int) -> list[slice]:
        """The parts of the owned slice of a bucket, whole blocks each."""
        owned = self.exchange.owned[bucket]
        length = owned.stop - owned.start
        return [slice(first, min(first + PART, length)) for first in range(0, length, PART)]

    def _gradient_of(self, bucket: int, part: slice) -> Array:
        """One rank that holds the whole tree's sum reads it where it lies."""
        gradient, parts = self._gradients[bucket], self.exchange.parts[bucket]
        if len(parts) == 1:
            return parts[0, part]
        return gradient[part] if self.updater.clips_norm else gradient[: part.stop - part.start]

    def _reduced(self, samples: int, bucket: int, updates: bool = False) -> list[Call]:
        """The owned slice of a bucket's gradient, part by part, and the update with it while it is in the cache."""
        calls = [*self.exchange.collect(bucket), *self._programs[samples][0].gradient]
        for part in self._parts(bucket):
            gradient, blocks = self._gradient_of(bucket, part), self.exchange.blocks[bucket][blocks_of(part)]
            if len(self.exchange.parts[bucket]) > 1:
                calls = calls + self.exchange.sum_parts(bucket, gradient, part)
            squares = Call(block_square_sums, (blocks, gradient), "blocks = block_square_sums(gradient)", "update")
            calls = [*calls, squares, *(self._update(bucket, part) if updates else [])]
        return calls

    def _update(self, bucket: int, part: slice) -> list[Call]:
        params, gradient = self.params[self.exchange.owned[bucket]][part], self._gradient_of(bucket, part)
        if not self._own:
            return self.updater.update(params, gradient, bucket, part)
        own = self._own[bucket][part]
        stored = Call(store_past_caches, (params, own), "params = own params, past the caches", "update")
        return [*self.updater.update(own, gradient, bucket, part), stored]


def _non_finite(epoch: int, number: int, step: int, loss: float, weight: float, norm: float) -> str:
    mean = loss / weight if weight else loss
    return (
        f"not finite at step {step + 1} (epoch {epoch + 1}, minibatch {number + 1}): loss {mean}, gradient norm {norm}"
    )
