"""Training from start to end: epochs of steps, validation, the best model, early stopping, checkpoints.

What decides (losses, wishes to stop, checkpoints) is known alike to all ranks, so they stay together without asking.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from distprop.comm.communicator import Communicator
from distprop.comm.exchange import Exchange, make_exchange
from distprop.comm.shards import owned_shards
from distprop.comm.slices import cut_rows
from distprop.comm.volumes import Volume
from distprop.config.run import Config
from distprop.data.dataset import Dataset
from distprop.data.encoding import Encoding
from distprop.data.open_source import rows_text
from distprop.errors import CheckpointError, Interrupted, NonFiniteError
from distprop.network.initializers import initialize
from distprop.network.layout import Layout
from distprop.network.program import Array
from distprop.training.checkpoint import Checkpoint, Progress
from distprop.training.evaluation import Evaluation, Evaluator
from distprop.training.guards import agree, hexadecimal, ingredients
from distprop.training.minibatch import Minibatches
from distprop.training.model import Model, make_model
from distprop.training.non_finite import CURE, explanation
from distprop.training.optimizers import Updater
from distprop.training.schedules import LearningRate
from distprop.training.step import MOST_STEPS, Step, StepsResult
from distprop.training.targets import Target
from distprop.training.timeline import Timeline

STOP, CHECKPOINT = 1, 2  # what a rank may wish for after a step
RUN_S = 0.02  # aimed at for steps in one run, after which Python looks round: for signals, for instance


class Observer(Protocol):
    """Who looks on: writes what is known to files or a terminal, and may wish for a stop or a checkpoint."""

    def most_steps(self, progress: Progress) -> int:
        """After how many steps at most it must be told again; alike on every rank."""

    def wish(self, progress: Progress, steps: int) -> int:
        """STOP, CHECKPOINT, both or 0: asked before some steps, granted to any rank after them."""

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        """After some steps; learning_rate is the last one's."""

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        """After each epoch, with all its numbers by name."""

    def validated(self) -> None:
        """Before validation, and after each block of samples."""

    def save(self, checkpoint: Checkpoint) -> str | None:
        """Keep a checkpoint, or say why it can't be kept, alike on every rank. Called on all, with the same content."""

    def warn(self, problem: str) -> None:
        """Tell the user. Called on every rank, with the same text."""

    def timeline(self, trace: str) -> None:
        """Keep a trace of the first steps, if the configuration asks for one. Called on every rank."""


class Silent:
    """Nobody looks on."""

    def most_steps(self, progress: Progress) -> int:
        return MOST_STEPS

    def wish(self, progress: Progress, steps: int) -> int:
        return 0

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        pass

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        pass

    def validated(self) -> None:
        pass

    def save(self, checkpoint: Checkpoint) -> str | None:
        return None

    def warn(self, problem: str) -> None:
        pass

    def timeline(self, trace: str) -> None:
        pass


def _exchange_of(config: Config, comm: Communicator, layout: Layout) -> tuple[Exchange, dict[str, list[int]]]:
    """The exchange, and the blocks of rows in which it sends weights between machines."""
    training, weights = config.training, [parameter for parameter in layout.parameters if parameter.is_weight]
    assert training.shards is not None
    itemsize, is_cut = np.dtype(config.dtype).itemsize, not comm.shares_memory and training.exchange == "ordered"
    blocks = {weight.name: cut_rows(weight.shape, itemsize) if is_cut else [0, weight.shape[0]] for weight in weights}
    begins = [weight.offset + row * weight.shape[1] for weight in weights for row in blocks[weight.name][:-1]]
    activations = training.batch_size * sum(sum(weight.shape) for weight in weights)
    form, sizes = training.exchange, (layout.length, training.shards)
    exchange = make_exchange(form, comm, *sizes, config.dtype, begins, training.accumulate, activations)
    return exchange, blocks


@dataclass(frozen=True)
class Outcome:
    """What training made. model: the best epoch's if a validation number is monitored, else the last."""

    model: Model
    progress: Progress
    history: list[dict[str, float]]  # the numbers of every epoch since training began or was resumed


class Training:
    """One rank's part in training a network."""

    def __init__(
        self,
        config: Config,
        comm: Communicator,
        data: Dataset,
        validation: Dataset | None,
        encoding: Encoding,
        observer: Observer,
        digest: str,
    ) -> None:
        self._config, self._comm, self._observer, self._digest = config, comm, observer, digest
        shards = config.training.shards
        assert shards is not None
        self.model = make_model(config.network, encoding, config.dtype)
        target = Target(config.network.loss, encoding.target, self.model.graph.outputs)
        class_weights = target.class_weights(encoding, config.dtype)
        constants, passes = self.model.constants(), config.training.accumulate
        self._exchange, blocks = _exchange_of(config, comm, self.model.layout)
        self.model = replace(self.model, params=self._exchange.params)
        run = owned_shards(comm.rank, comm.size, shards)
        self._minibatches = Minibatches(
            data, target, config.training.batch_size, run, shards, config.dtype, config.seed, config.training.shuffle,
            class_weights,
        )  # fmt: skip
        self._updater = Updater(config.optimizer, self.model.layout, self._exchange.owned, config.dtype)
        self._step = Step(
            self.model.graph, self.model.layout, constants, self._minibatches, self._exchange, self._updater,
            shards, config.seed, passes, config.training.log_every, blocks,
        )  # fmt: skip
        self._evaluator = validation is not None and Evaluator(
            self.model.graph, self.model.named(), constants, validation, target, comm, config.dtype, class_weights,
            config.training.top_k,
        )  # fmt: skip
        self._rates = LearningRate(config.optimizer, config.schedule, len(self._minibatches), self.total_steps)
        self._best: Array | None = None
        self._patience, self._wanted_steps = 1, 1  # agreed with all ranks, and what this rank would like next
        self._timeline: Timeline | None = None
        self._failing = False  # the last checkpoint could not be written
        self.progress = Progress()
        initialize_all(self.model.layout, self.model.params, config.seed)

    @property
    def total_steps(self) -> int:
        training = self._config.training
        return training.steps or (training.epochs or 1) * len(self._minibatches)

    @property
    def steps_per_epoch(self) -> int:
        return len(self._minibatches)

    @property
    def volumes(self) -> Sequence[Volume]:
        """What the exchange sends in a step."""
        return self._exchange.volumes

    @property
    def program(self) -> str:
        """The calls of a full minibatch's step on this rank, for a reader."""
        return str(self._step.program)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint: a collective. CheckpointError if it is of another network or optimizer."""
        slots = self._updater.slots()
        if checkpoint.params.shape != self.model.params.shape or set(checkpoint.state) != set(slots):
            raise CheckpointError(f"{checkpoint.name}: made by another network or optimizer; start a new run")
        self._comm.barrier()  # the parameters may be shared: a slower rank would write initial values over these
        self.progress, self._best = checkpoint.progress, checkpoint.best
        self.model.params[:] = checkpoint.params
        self._step.params_are_set = True
        for name, slot in slots.items():
            np.concatenate([checkpoint.state[name][owned] for owned in self._exchange.owned], out=slot)

    def checkpoint(self) -> Checkpoint:
        """What a resumed run starts from: a collective.

        NonFiniteError or DisagreementError, on all ranks, if it would be of no use.
        """
        self._exchange.settle()
        digest = hexadecimal(self._step.digests.agree(self._comm, self.progress.step))
        state = {name: self._gathered(name, slot) for name, slot in self._updater.slots().items()}
        checkpoint = Checkpoint(self.progress, self.model.params, state, self._best, self._digest, digest)
        name = checkpoint.not_finite()
        if name:
            raise NonFiniteError(
                f"not finite after step {self.progress.step}: {name}; nothing of this state is saved; {CURE}"
            )
        return checkpoint

    def _gathered(self, name: str, slot: Array) -> Array:
        """All of a part of the optimizer's state. DivergedError, on all ranks, if it isn't what they hold."""
        whole = self._exchange.gather(slot)
        self._step.digests.check_gathered(self._comm, name, slot, whole, self.progress.step)
        return whole

    def _save(self, *, needed: bool = False) -> None:
        """Keep a checkpoint: a collective. If that fails, all ranks go on or stop alike; `needed`: they must stop."""
        problem = self._observer.save(self.checkpoint())
        failing, self._failing = self._failing, bool(problem)
        if not problem:
            return
        if needed or self._config.checkpoint.on_error == "stop":
            raise CheckpointError(f"{problem}; stopped at step {self.progress.step}")
        if not failing:  # one warning is enough until a checkpoint can be written again
            self._observer.warn(f"{problem}; training goes on, and tries again later")

    def run(self) -> Outcome:
        """Train to the end. Raises Interrupted, after a checkpoint, if any rank wishes to stop.

        Raises CheckpointError, on all ranks after the same step, if a checkpoint can't be written that must be;
        NonFiniteError if a loss or gradient isn't finite; DisagreementError if ranks don't have alike what they must.
        """
        self._agree()
        history = []
        if self._config.training.timeline:
            self._timeline = Timeline(self._comm, self._config.training.timeline)
        while not self.progress.finished:
            self._train_epoch()
            history.append(self._end_epoch())
        self._save(needed=True)
        params = self.model.params.copy() if self._best is None else self._best
        return Outcome(replace(self.model, params=params), self.progress, history)

    def try_steps(self, first: int, count: int) -> int:
        """Make at most `count` steps that change no parameter; how many it were: a collective.

        They are those of the first epoch's whole minibatches from number `first` on, and over again.
        """
        whole = self._minibatches.alike(0)
        count = min(count, whole - first % whole, MOST_STEPS)
        self._step.run(0, first % whole, 0, np.zeros(count), (0.0, 0.0, 0.0))
        return count

    @property
    def is_compiled(self) -> bool:
        """Whether the steps made so far have become machine code."""
        return self._step.is_compiled

    def _agree(self) -> None:
        """Go on only if all ranks start alike: a collective."""
        self._comm.barrier()  # the parameters may be shared: now nobody writes them any more
        digest, step = self._step.digests.whole(), self.progress.step
        agree(self._comm, ingredients(self._digest) | {"step": str(step), "parameters": hexadecimal(digest)})
        self._step.digests.agreed = step

    def _train_epoch(self) -> None:
        """The steps that are left of the present epoch."""
        while self.progress.minibatch < len(self._minibatches) and self.progress.step < self.total_steps:
            result = self._train_steps()
            if result.wishes:
                self._save(needed=bool(result.wishes & STOP))
            if result.wishes & STOP:
                raise Interrupted(f"stopped at step {self.progress.step}")

    def _train_steps(self) -> StepsResult:
        """As many steps as nobody needs to look on in between."""
        before, steps = self.progress, self._next_steps()
        begin = time.perf_counter()
        rates = self._rates.many(before.step, steps, before.plateau)
        sums = before.loss, before.correct, before.weight
        wishes = self._observer.wish(before, steps)
        timeline = self._timeline
        try:
            result = self._step.run(
                before.epoch, before.minibatch, before.step, rates, sums, wishes, self._wanted_steps,
                timeline.add if timeline else None,
            )  # fmt: skip
        except NonFiniteError as error:  # on all ranks alike
            samples = self._minibatches.samples(before.minibatch)
            origin = explanation(self._step, samples, self._comm, partial(rows_text, self._config.data))
            raise NonFiniteError(f"{error}; {origin}") from None
        self._patience = result.patience
        self._wanted_steps = int(min(max(RUN_S * steps / (time.perf_counter() - begin), 1), MOST_STEPS))
        loss, correct, weight = result.sums
        self.progress = replace(
            before,
            step=before.step + steps,
            minibatch=before.minibatch + steps,
            loss=loss,
            correct=correct,
            weight=weight,
        )
        self._observer.steps_done(self.progress, result, float(rates[-1]))
        if timeline:
            timeline.steps_left -= steps
            if timeline.steps_left == 0 or self.progress.step == self.total_steps:
                self._observer.timeline(timeline.trace())
                self._timeline = None
        return result

    def _next_steps(self) -> int:
        """How many: minibatches of one size, and no more than all ranks agreed on or anyone allows."""
        progress = self.progress
        alike = self._minibatches.alike(progress.minibatch)
        recorded = self._timeline.steps_left if self._timeline else MOST_STEPS
        left = self.total_steps - progress.step
        return min(self._patience, alike, left, recorded, self._observer.most_steps(progress))

    def _end_epoch(self) -> dict[str, float]:
        """Validate, and decide how training goes on."""
        done = self.progress
        numbers = {"loss": done.loss / done.weight if done.weight else math.nan}
        if self._minibatches.target.classes:
            numbers["accuracy"] = done.correct / done.weight if done.weight else math.nan
        evaluation = None
        if self._evaluator:
            self._exchange.settle()
            evaluation = self._evaluator.run(self._observer.validated)
            numbers |= {f"validation_{name}": number for name, number in evaluation.numbers.items()}
        numbers["learning_rate"] = self._rates.at(done.step - 1, done.plateau)
        self.progress = self._decide(
            replace(done, epoch=done.epoch + 1, minibatch=0, loss=0.0, correct=0.0, weight=0.0), numbers
        )
        self._observer.epoch_done(self.progress, numbers, evaluation)
        if self._config.checkpoint.every_seconds == 0:
            self._save()
        return numbers

    def _decide(self, progress: Progress, numbers: Mapping[str, float]) -> Progress:
        """Best model, early stopping, plateau, end: from numbers that all ranks know."""
        training = self._config.training
        monitor = training.monitor
        score = -numbers[monitor] if monitor.endswith("accuracy") else numbers[monitor]
        known = math.isfinite(score)  # a validation loss may overflow where the training loss doesn't
        if known and (progress.best is None or score < progress.best):
            progress = replace(progress, best=score, best_epoch=progress.epoch)
            if monitor.startswith("validation"):
                self._best = self.model.params.copy()
        stopping = training.early_stopping
        margin = stopping.min_delta if stopping else 0.0
        better = known and (progress.anchor is None or score < progress.anchor - margin)
        progress = replace(
            progress,
            anchor=score if better else progress.anchor,
            waited=0 if better else progress.waited + 1,
            plateau=self._rates.observe(progress.plateau, score),
        )
        stop = stopping is not None and progress.waited >= stopping.patience
        return replace(progress, finished=stop or progress.step >= self.total_steps)


def initialize_all(layout: Layout, params: Array, seed: int) -> None:
    """Fill the flat vector params (length,) with the declared initial values."""
    for parameter in layout.parameters:
        fan_in = parameter.shape[0] if parameter.is_weight else 1
        fan_out = parameter.shape[-1]
        initialize(parameter.view(params), parameter.initializer, fan_in, fan_out, seed, parameter.key)
