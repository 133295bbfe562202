"""What every program that takes part in steps.py trains, handed over in a folder; and how a peer takes its turns.

Runs in the peers' environments too, so it needs NumPy alone.    Shapes: N samples, B of a minibatch, F features.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from conversation import Conversation

CHECK_EPOCHS, CHECK_MINIBATCHES = 5, 4  # what all train first, on the same minibatches, to compare their losses
MOMENTUM, BETA1, BETA2, EPSILON = 0.9, 0.9, 0.999, 1e-8
RATES = {"momentum": 0.01, "adam": 0.001}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass(frozen=True)
class Task:
    """A network of ReLU layers with softmax cross-entropy, and the optimizer: momentum or adam."""

    sizes: tuple[int, ...]
    batch: int
    optimizer: str
    samples: int
    clock: str = "wall"  # or cpu: a process's own time, for one-process sides on a busy machine

    @property
    def layers(self) -> list[tuple[int, int]]:
        return list(pairwise(self.sizes))

    @property
    def rate(self) -> float:
        return RATES[self.optimizer]

    @property
    def network(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.batch}"

    @property
    def name(self) -> str:
        return f"{self.network}, {self.optimizer}"

    @property
    def flops(self) -> float:
        """Floating-point operations of a step's matrix products: x w, x^T d, and d w^T but for the first layer."""
        products = [inputs * outputs for inputs, outputs in self.layers]
        return 2.0 * self.batch * (3 * sum(products) - products[0])

    @property
    def check(self) -> "Task":
        """The same with the first few samples."""
        return replace(self, samples=CHECK_MINIBATCHES * self.batch)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, F) float32 and labels (N,) int64 that a linear teacher gave them, but for one of each class."""
        random = np.random.Generator(np.random.Philox(key=1))
        teacher = random.standard_normal((self.sizes[0], self.sizes[-1]), dtype=np.float32)
        x = random.standard_normal((self.samples, self.sizes[0]), dtype=np.float32)
        labels = (x @ teacher).argmax(axis=1)
        labels[: self.sizes[-1]] = range(self.sizes[-1])  # so that none is missing
        return x, labels

    def save(self, folder: Path, params: dict[str, np.ndarray], orders: np.ndarray) -> None:
        """Write the task, the initial parameters and the order of samples (epochs, n) of each epoch of the check."""
        (folder / "task.json").write_text(json.dumps(asdict(self)))
        np.savez(folder / "start.npz", orders=orders, **params)


def load_task(folder: Path) -> Task:
    fields = json.loads((folder / "task.json").read_text())
    return Task(**fields | {"sizes": tuple(fields["sizes"])})


@dataclass(frozen=True)
class Start:
    """Where training starts: params, weights (inputs, outputs) and biases in turn; orders (epochs, n) of the check."""

    params: list[np.ndarray]
    orders: np.ndarray


def load_start(folder: Path, task: Task) -> Start:
    with np.load(folder / "start.npz") as arrays:
        numbers = range(1, len(task.layers) + 1)
        names = [f"dense_{number}.{kind}" for number in numbers for kind in ("weight", "bias")]
        return Start([arrays[name] for name in names], arrays["orders"])


Train = Callable[[np.ndarray], list[float]]


def take_turns(task: Task, talk: Conversation, start: Start, train: Train) -> None:
    """A peer's part: the mean loss of each epoch of the check, then the seconds of as many epochs as asked for.

    train(rows (steps, B)) trains on these minibatches and returns their losses.
    """
    random, now = np.random.Generator(np.random.Philox(key=2)), CLOCKS[task.clock]
    curve = [float(np.mean(train(order.reshape(-1, task.batch)))) for order in start.orders]
    talk.answer({"losses": curve})

    def epoch() -> float:
        begin = now()
        rows = random.permutation(task.samples)[: task.samples // task.batch * task.batch]
        train(rows.reshape(-1, task.batch))
        return now() - begin

    for epochs in talk:
        talk.answer({"seconds": [epoch() for _ in range(epochs)]})
