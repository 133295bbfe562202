"""The Python interface: declare a network, train it on arrays or files, predict, save, load.

A script that trains is started by itself (one rank), or by `mpirun -n 4 python my_training.py`: then every rank runs
the whole script, `train` shares the work, and every rank holds the same model afterwards.
"""

import hashlib
import re
import signal
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Communicator
from distprop.comm.serial import Serial
from distprop.config import resolve, write_config
from distprop.config.data import Data
from distprop.config.losses import BinaryCrossEntropy, Loss
from distprop.config.optimizers import Adam, Optimizer
from distprop.config.run import Checkpoint, Config, DataType, EarlyStopping, Network, Training
from distprop.config.schedules import Constant, Schedule
from distprop.data import dataset
from distprop.data.encoding import Encoding
from distprop.data.fit import row_outside_0_and_1
from distprop.environment import rank_by_environment
from distprop.errors import DataError, Interrupted, UsageError
from distprop.inspection import evaluate_on, open_model
from distprop.report import epoch_line
from distprop.run_directory import RunDirectory
from distprop.training import model as trained
from distprop.training.checkpoint import Progress
from distprop.training.evaluation import Evaluation
from distprop.training.guards import agree, ingredients
from distprop.training.loop import STOP, Outcome, Silent
from distprop.training.loop import Training as Engine
from distprop.training.observer import RunObserver
from distprop.training.requests import StopRequests
from distprop.training.run import Material, compile_kernels, made_of, prepared_material, train_run

IN_MEMORY = "arrays-in-memory.npz"  # what a run's configuration says of data that came from no file
_WHOLE = re.compile("-?[0-9]{1,18}")  # of 64 bits; longer labels stay text


@dataclass(frozen=True)
class Dataset:
    """Samples in memory.

    x: (N, ...) numbers. y: (N,) class labels of any kind, or (N,) or (N, K) values. weights: (N,), at least 0.
    kind: what y holds; None: classes if y is text or truth values, else what the loss takes: classes for a
    cross-entropy (but values for a binary one if they are no whole numbers), values for the others.
    """

    x: npt.ArrayLike
    y: npt.ArrayLike
    weights: npt.ArrayLike | None = None
    kind: dataset.TargetKind | None = None

    def encoded(
        self, dtype: DataType, loss: Loss, encoding: Encoding | None = None
    ) -> tuple[dataset.Dataset, Encoding]:
        """Checked arrays and how they are encoded; as the training data are, if their encoding is given."""
        kind = self.kind or dataset.target_kind(self.y, loss)
        arrays, encoding = dataset.Dataset.from_arrays(self.x, self.y, self.weights, kind, dtype, encoding)
        if isinstance(loss, BinaryCrossEntropy) and arrays.targets is not None:
            row = row_outside_0_and_1(arrays.targets)
            if row is not None:
                raise DataError(
                    f"y, row {row}: {loss.type} takes values from 0 to 1 (got {arrays.targets[row].tolist()})"
                )
        return arrays, encoding


class Model:
    """A trained network.

    >>> import numpy as np, distprop as dp
    >>> x = np.linspace(-1, 1, 64).reshape(-1, 1)
    >>> network = dp.Network([dp.Dense(8, "tanh"), dp.Dense(1)], loss=dp.MeanSquaredError())
    >>> model = dp.train(network, dp.Dataset(x, x[:, 0] ** 2), epochs=2, batch_size=16, verbose=False).model
    >>> model.predict(x).shape
    (64,)
    """

    def __init__(self, model: trained.Model) -> None:
        self._model = model

    @property
    def classes(self) -> npt.NDArray[Any]:
        """The labels (C,) of the classes, whole numbers and truth values as such; empty where targets are values."""
        labels = self._model.encoding.target.classes
        if labels == ("false", "true"):
            return np.array([False, True])
        whole = all(_WHOLE.fullmatch(label) for label in labels)
        return np.array([int(label) for label in labels] if whole else labels)

    @property
    def params(self) -> Mapping[str, npt.NDArray[Any]]:
        """All parameters by name: "dense_1.weight" (inputs, outputs), "dense_1.bias" (outputs,)."""
        return self._model.named()

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """For samples x (N, ...): their classes' labels (N,); or values, (N,) for one output, else (N, K)."""
        outputs = self._outputs(x)
        if len(self.classes):
            one_logit = outputs.shape[1] == 1
            winners = (outputs[:, 0] > 0.5).astype(np.int64) if one_logit else outputs.argmax(axis=1)
            labels: npt.NDArray[Any] = self.classes[winners]
            return labels
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict_proba(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Probabilities (N, C) of the classes for samples x (N, ...). UsageError unless the loss is a cross-entropy."""
        if "cross_entropy" not in self._model.network.loss.type or not len(self.classes):
            raise UsageError("predict_proba needs a model for classes, trained with a cross-entropy; use predict")
        outputs = self._outputs(x)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def evaluate(self, data: Dataset) -> dict[str, Any]:
        """Loss and metrics by name, each sample counted once with its weight."""
        _check_kind("data", data, Dataset)
        encoded, _ = data.encoded(self._dtype(), self._model.network.loss, self._model.encoding)
        return evaluate_on(self._model, encoded)

    def save(self, path: str | Path) -> None:
        """Write the model's file, safetensors."""
        self._model.save(Path(path))

    def digest(self) -> str:
        """SHA-256 of the parameters: equal exactly when every bit of them is."""
        return self._model.digest()

    def _dtype(self) -> DataType:
        return "float64" if self._model.dtype == np.float64 else "float32"

    def _outputs(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        return self._model.outputs(dataset.features_from(x, self._dtype()))


def load(path: str | Path) -> Model:
    """The model in a file, or of a run directory. Raises UsageError, CheckpointError."""
    return Model(open_model(Path(path)))


@dataclass(frozen=True)
class Result:
    """What `train` returns. history: the numbers of each epoch by name, such as "loss" and "validation_accuracy".

    rank: the number of this process, 0 if it is the only one. The rest is the same on every rank.
    """

    model: Model
    history: list[dict[str, float]]
    rank: int


def train(
    network: Network,
    data: Dataset | Data,
    validation: Dataset | None = None,
    *,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    shards: int | None = None,
    shuffle: bool = True,
    early_stopping: EarlyStopping | None = None,
    seed: int = 0,
    dtype: DataType = "float32",
    run: str | Path | None = None,
    checkpoint: Checkpoint | None = None,
    verbose: bool = True,
    comm: Communicator | None = None,
) -> Result:
    """Train a network; a collective where several ranks run.

    data: arrays in memory, the same on every rank, or files: a `Data` declaration, with its validation data.
    optimizer: Adam() if None. epochs or steps: how long; 10 epochs if neither. batch_size: of the whole minibatch, over
    all ranks. run: a folder for checkpoints, metrics and the model; if it holds this run, training goes on where
    it was. verbose: rank 0 prints a line an epoch. comm: None finds out whether an mpirun has started this script.

    The result's model is that of the best epoch if there are validation data, else of the last. It depends on the
    arguments and the data alone, not on the number of ranks. Raises ConfigError, DataError, UsageError, NonFiniteError;
    and Interrupted, after a checkpoint, if a signal asks to stop and `run` is given. Without `run`, Ctrl-C raises
    KeyboardInterrupt, on every rank after the same step.

    >>> import numpy as np, distprop as dp
    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 8), np.array([0, 1, 1, 0] * 8)
    >>> network = dp.Network([dp.Dense(16, "tanh"), dp.Dense(2)], loss=dp.SoftmaxCrossEntropy())
    >>> result = dp.train(network, dp.Dataset(x, y), epochs=200, batch_size=8, optimizer=dp.Adam(0.02), verbose=False)
    >>> result.model.predict(x[:4]).tolist()
    [0, 1, 1, 0]
    """
    _check_kind("data", data, Dataset, Data)
    _check_kind("validation", validation, Dataset, type(None))
    if isinstance(data, Data) and validation is not None:
        raise UsageError("data are files, but validation is in memory; name its file in dp.Data(validation=...)")
    training = Training(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        shards=shards,
        shuffle=shuffle,
        early_stopping=early_stopping,
    )
    comm = comm or _communicator()
    config = Config(
        data=data if isinstance(data, Data) else Data(IN_MEMORY, None if validation is None else IN_MEMORY),
        network=network,
        optimizer=optimizer or Adam(),
        schedule=schedule or Constant(),
        training=training,
        checkpoint=checkpoint or Checkpoint(),
        seed=seed,
        dtype=dtype,
    )
    if isinstance(data, Data):
        config = resolve(config, Path.cwd())
        material = prepared_material(config)
    else:
        material = _material(data, validation, config, bool(run) or comm.size > 1)
        kind = material.encoding.target.kind
        config = resolve(replace(config, data=replace(config.data, target_kind=kind)), Path.cwd())
    show = _show if verbose and comm.rank == 0 else None
    outcome = _train_in(Path(run), config, material, comm, show) if run else _train(config, material, comm, show)
    return Result(Model(outcome.model), outcome.history, comm.rank)


def _communicator() -> Communicator:
    if rank_by_environment() is None:
        return Serial()
    from distprop.comm.mpi import Mpi, end_all_ranks_on_exceptions

    end_all_ranks_on_exceptions()
    return Mpi()


def _check_kind(name: str, given: object, *kinds: type) -> None:
    """UsageError if an argument is nothing of what it can be."""
    if not isinstance(given, kinds):
        expected = " or ".join(f"dp.{kind.__name__}" for kind in kinds if kind is not type(None))
        raise UsageError(f"{name}: wrong type (got {type(given).__name__}, expected {expected}); see dp.Dataset(x, y)")


def _material(data: Dataset, validation: Dataset | None, config: Config, needs_digest: bool) -> Material:
    arrays, encoding = data.encoded(config.dtype, config.network.loss)
    held_out = None if validation is None else validation.encoded(config.dtype, config.network.loss, encoding)[0]
    digest = hashlib.sha256(encoding.to_json().encode())
    for part in (arrays, held_out) if needs_digest else ():
        for array in (part.features, part.labels, part.targets, part.weights) if part else ():
            digest.update(b"-" if array is None else np.ascontiguousarray(array).data)
    return Material(arrays, held_out, encoding, digest.hexdigest())


def _train(config: Config, material: Material, comm: Communicator, show: "Show | None") -> Outcome:
    """Train with nothing written to disk. KeyboardInterrupt, on every rank, after the step in which Ctrl-C came."""
    digest = made_of(config, material)
    agree(comm, ingredients(digest))
    compile_kernels(config, material, comm, lambda: None)
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else the program sees to it
    with StopRequests([signal.SIGINT] if ours else []) as requests:
        observer = _Teller(show, requests)
        training = Engine(config, comm, material.data, material.validation, material.encoding, observer, digest)
        try:
            return training.run()
        except Interrupted as error:
            raise KeyboardInterrupt from error


def _train_in(path: Path, config: Config, material: Material, comm: Communicator, show: "Show | None") -> Outcome:
    """Train in a run directory: a new one, or the one of this very run."""
    run = RunDirectory(path)
    if comm.rank == 0 and not run.config.exists():
        write_config(config, RunDirectory.create(path).config)
    comm.barrier()
    alone = run.held() if comm.rank == 0 else nullcontext()
    with alone, RunObserver(run, config, comm, show) as observer:
        return train_run(run, config, material, comm, observer)


Show = Callable[[Mapping[str, Any], Mapping[str, Any]], None]


def _show(record: Mapping[str, Any], status: Mapping[str, Any]) -> None:
    print(epoch_line(record, status), flush=True)


class _Teller(Silent):
    """Prints a line an epoch, and wishes to stop when asked to."""

    def __init__(self, show: Show | None, requests: StopRequests) -> None:
        self._show, self._requests = show, requests

    def wish(self, progress: Progress, steps: int) -> int:
        return STOP if self._requests.count else 0

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        if self._show:
            self._show({"epoch": progress.epoch, **numbers}, {})
