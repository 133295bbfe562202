"""Training on ranks as threads, with everything recorded that ranks are told."""

import copy
import importlib.util
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from distprop.comm.communicator import Communicator
from distprop.comm.threads import run_ranks
from distprop.config import resolve
from distprop.config.data import Data
from distprop.config.layers import Dense, Dropout, Standardise
from distprop.config.losses import SoftmaxCrossEntropy
from distprop.config.run import Config, Network, Training
from distprop.data.dataset import Dataset
from distprop.errors import DistpropError
from distprop.training import loop
from distprop.training.checkpoint import Checkpoint, Progress
from distprop.training.loop import Silent


class Recorder(Silent):
    """Writes down what one rank is told; wishes `wishes[step]` on ranks `who` when that step is about to be done."""

    def __init__(self, comm: Communicator, wishes: dict[int, int], who: Container[int]) -> None:
        self._comm, self._wishes = comm, wishes if comm.rank in who else {}
        self.steps: list[tuple[Any, ...]] = []
        self.epochs: list[dict[str, float]] = []
        self.confusions: list[Any] = []
        self.checkpoints: list[Checkpoint] = []

    def most_steps(self, progress: Progress) -> int:
        return 1

    def wish(self, progress: Progress, steps: int) -> int:
        return self._wishes.get(progress.step + 1, 0)

    def steps_done(self, progress, result, learning_rate):
        self.steps.append((progress, result.samples, result.loss, result.weight, result.gradient_norm, learning_rate))

    def epoch_done(self, progress, numbers, evaluation):
        self.epochs.append(dict(numbers))
        self.confusions.append(None if evaluation is None or evaluation.confusion is None else evaluation.confusion)

    def save(self, checkpoint: Checkpoint) -> None:
        self.checkpoints.append(copy.deepcopy(checkpoint))
        self._comm.barrier()


def config_of(network: Network, validation: bool = False, **tables: Any) -> Config:
    """A resolved configuration of data in memory."""
    kind = "classes" if isinstance(network.loss, SoftmaxCrossEntropy) else "values"
    config = resolve(Config(data=Data(train="memory.npz", target_kind=kind), network=network, **tables), Path("/"))
    monitor = "validation_loss" if validation else config.training.monitor
    return replace(config, training=replace(config.training, monitor=monitor))


def train(
    ranks: int,
    config: Config,
    data: tuple[Dataset, Any],
    validation: Dataset | None = None,
    wishes: dict[int, int] | None = None,
    who: Container[int] = (0,),
    checkpoint: Checkpoint | None = None,
    machines: Sequence[int] | None = None,
) -> list[SimpleNamespace]:
    """Each rank's outcome, error (of ours) and recorder; `plain`: all that must be alike, as text."""

    def work(comm: Communicator) -> SimpleNamespace:
        seen = Recorder(comm, wishes or {}, who)
        training = loop.Training(config, comm, data[0], validation, data[1], seen, "digest")
        if checkpoint:
            training.restore(checkpoint)
        outcome, error = None, None
        try:
            outcome = training.run()
        except DistpropError as caught:
            error = caught
        digest = outcome.model.digest() if outcome else None
        plain = repr((digest, seen.steps, seen.epochs, seen.confusions, str(error)))
        return SimpleNamespace(outcome=outcome, error=error, seen=seen, digest=digest, plain=plain, training=training)

    return run_ranks(ranks, work, machines=machines)


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """train(ranks, config, data, ...), config_of(network, ...), and small data sets with a network for them."""
    rng = np.random.default_rng(11)

    def data(rows: int, dtype: str = "float32", encoding: Any = None, weighted: bool = True) -> tuple[Dataset, Any]:
        x = rng.normal(size=(rows, 5))
        y = np.arange(rows) % 3 if encoding is None else rng.integers(0, 3, rows)
        x[:, 0] += 0.5 * y
        weights = rng.uniform(0.5, 2, rows) if weighted else None
        return Dataset.from_arrays(x, y, weights, "classes", dtype, encoding)

    layers = [Standardise(), Dense(40, "relu"), Dropout(0.3), Dense(210, "tanh"), Dense(3)]
    network = Network(layers, SoftmaxCrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5)))
    training = data(61)
    return SimpleNamespace(
        train=train,
        config_of=config_of,
        data=data,
        network=network,
        training=training,
        validation=data(300, encoding=training[1])[0],
        short=Training(epochs=2, batch_size=16, shards=8, top_k=2),
    )


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """The independent implementation of networks."""
    path = Path(__file__).parent.parent / "network" / "oracle.py"
    spec = importlib.util.spec_from_file_location("network_oracle", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
