"""Small fixed runs whose bits must never change by accident; their digests are in reference_digests.json.

    python tests/reference_digests.py [NAME ...]          print digests, of all runs or of these
    python tests/reference_digests.py --grid [NAME ...]   the same on 1 to 8 ranks, also stopped and resumed on others
    python tests/reference_digests.py --write             keep them, after a change that is meant to change bits

A digest covers the parameters and every number reported. The data come from integer arithmetic alone.
"""

import copy
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from distprop.comm.communicator import Communicator
from distprop.comm.serial import Serial
from distprop.comm.threads import run_ranks
from distprop.config import optimizers as o
from distprop.config import resolve
from distprop.config import schedules as s
from distprop.config.data import Data
from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Layer, Standardise
from distprop.config.losses import (
    BinaryCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)
from distprop.config.run import Config, Network, Training
from distprop.data.dataset import Dataset
from distprop.errors import Interrupted
from distprop.training.checkpoint import Checkpoint, Progress
from distprop.training.loop import STOP, Silent
from distprop.training.loop import Training as Engine

FILE = Path(__file__).with_suffix(".json")
ROWS, HELD_OUT = 77, 290
RANKS = (1, 2, 3, 4, 5, 7, 8)


def numbers(rows: int, columns: int, salt: int) -> np.ndarray:
    """Values in [-1, 1) in no visible order, exact in float32."""
    i = np.arange(rows * columns, dtype=np.int64).reshape(rows, columns) + 1000 * salt
    return ((i * i * 7919 + i * 104729 + salt) % 2048) / 1024 - 1


def data_of(kind: str, outputs: int, dtype: str) -> tuple[Dataset, Dataset, object]:
    """Training and validation data with sample weights, and their encoding."""
    found, encoding = [], None
    for salt, rows in enumerate((ROWS, HELD_OUT)):
        x, weights = numbers(rows, 12, salt), numbers(rows, 1, salt + 2)[:, 0] + 1.25
        if kind == "images":
            x = ((x + 1) * 127).astype(np.uint8).reshape(rows, 3, 4)
        y = np.arange(rows) % outputs if kind != "values" else numbers(rows, outputs, salt + 4)
        target = "values" if kind == "values" else "classes"
        data, encoding = Dataset.from_arrays(x, y, weights, target, dtype, encoding)
        found.append(data)
    return found[0], found[1], encoding


CHAIN: list[Layer] = [Standardise(), Dense(70, "relu"), Dropout(0.25), Dense(33, "tanh"), Dense(5)]
BRANCHES: list[Layer] = [
    Dense(19, "gelu", name="a"),
    Dense(19, "silu", name="b", initializer="lecun_normal"),
    Activation("sigmoid", inputs=("a",), name="c"),
    Add(("a", "b", "c"), name="d"),
    Concatenate(("d", "a", "input")),
    Dense(3, initializer="glorot_normal", bias_initializer=0.1),
]
IMAGES: list[Layer] = [Standardise(per="array"), Flatten(), Dense(40, "leaky_relu", bias=False), Dense(4, "softplus")]
SMOOTHED = SoftmaxCrossEntropy(label_smoothing=0.1, class_weights="balanced")

Run = tuple[str, list[Layer], Loss, o.Optimizer, s.Schedule, int, int, str]  # kind ... batch size, shards, dtype
RUNS: dict[str, Run] = {
    "adam": ("classes", CHAIN, SMOOTHED, o.Adam(0.01, clip_norm=0.5), s.Cosine(warmup=0.5), 16, 8, "float32"),
    "momentum": ("classes", CHAIN, SMOOTHED, o.Momentum(0.05, l2=1e-3), s.Constant(), 32, 13, "float32"),
    "adam-float64": ("classes", CHAIN, SMOOTHED, o.Adam(0.01, l1=1e-4), s.Plateau(0.5, 1), 16, 7, "float64"),
    "nesterov": ("values", BRANCHES, Huber(0.3), o.Nesterov(0.02), s.StepDecay(1, 0.3), 20, 4, "float32"),
    "rmsprop": ("values", BRANCHES, MeanSquaredError(), o.RMSprop(0.003), s.Exponential(0.7), 20, 3, "float32"),
    "adagrad-float64": ("values", BRANCHES, MeanAbsoluteError(), o.AdaGrad(0.05), s.Constant(), 77, 16, "float64"),
    "adamw": ("images", IMAGES, BinaryCrossEntropy(), o.AdamW(0.01), s.Polynomial(1.5), 16, 8, "float32"),
    "sgd": ("images", IMAGES, SoftmaxCrossEntropy(), o.SGD(0.1, clip_value=0.02), s.Constant(), 9, 9, "float32"),
}


def engine(name: str, comm: Communicator, observer: Silent) -> Engine:
    """One rank's part in one of the runs."""
    kind, layers, loss, optimizer, schedule, batch_size, shards, dtype = RUNS[name]
    outputs = layers[-1].units  # type: ignore[union-attr]
    data, held_out, encoding = data_of(kind, outputs, dtype)
    config = Config(
        data=Data(train="memory.npz", validation_fraction=0.1, target_kind="values" if kind == "values" else "classes"),
        network=Network(layers, loss),
        optimizer=optimizer,
        schedule=schedule,
        training=Training(epochs=3, batch_size=batch_size, shards=shards, top_k=2),
        seed=len(name),
        dtype=dtype,  # type: ignore[arg-type]
    )
    return Engine(resolve(config, Path("/")), comm, data, held_out, encoding, observer, "")  # type: ignore[arg-type]


def finish(training: Engine, before: list[dict[str, float]]) -> str:
    """Train to the end; the digest of the model and of all numbers, of which some have been reported before."""
    outcome = training.run()
    return hashlib.sha256(f"{outcome.model.digest()} {before + outcome.history}".encode()).hexdigest()


def digest(name: str, comm: Communicator) -> str:
    """Train one of the runs."""
    return finish(engine(name, comm, Silent()), [])


class StoppedInTheMiddle(Silent):
    """Wishes for a stop after half of the steps, and keeps what a resumed run needs."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.steps = 0  # of the whole run

    def most_steps(self, progress: Progress) -> int:
        return 1

    def wish(self, progress: Progress, steps: int) -> int:
        return STOP if progress.step + steps == self.steps // 2 else 0

    def epoch_done(self, progress, numbers, evaluation) -> None:  # type: ignore[no-untyped-def]
        self.epochs.append(dict(numbers))

    def save(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = copy.deepcopy(checkpoint)  # its parameters are those that are trained


def stop(name: str, comm: Communicator) -> StoppedInTheMiddle:
    """Train half of one of the runs."""
    seen = StoppedInTheMiddle()
    training = engine(name, comm, seen)
    seen.steps = training.total_steps
    try:
        training.run()
    except Interrupted:
        return seen
    raise AssertionError(f"{name} was not stopped")


def resume(name: str, comm: Communicator, half: StoppedInTheMiddle) -> str:
    """Train the other half."""
    training = engine(name, comm, Silent())
    training.restore(half.checkpoint)
    return finish(training, half.epochs)


def grid(name: str) -> dict[str, list[str]]:
    """The digest on each rank, for every number of ranks, of the run as a whole and of one resumed on other ranks."""
    ranks = [number for number in RANKS if number <= RUNS[name][6]]
    found = {}
    for number, other in zip(ranks, [*ranks[1:], 1], strict=True):
        found[f"{number}"] = run_ranks(number, lambda comm: digest(name, comm))
        half = run_ranks(number, lambda comm: stop(name, comm))[-1]
        found[f"{number}, then {other}"] = run_ranks(other, lambda comm, half=half: resume(name, comm, half))
    return found


def main(arguments: list[str]) -> None:
    names = [name for name in arguments if not name.startswith("--")] or list(RUNS)
    of_run = grid if "--grid" in arguments else lambda name: digest(name, Serial())
    text = json.dumps({name: of_run(name) for name in names}, indent=4)
    if "--write" in arguments:
        FILE.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
