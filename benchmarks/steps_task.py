"""What every program that takes part in steps.py trains, handed over in a folder; and how a peer takes its turn.

Runs in the peers' environments too, so it needs NumPy alone.    Shapes: N samples, B of a minibatch, F features.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

CHECKED_STEPS = 20
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
    seconds: float  # to measure in a turn
    cores: tuple[int, ...]  # the core of each process
    clock: str = "wall"  # or cpu: a process's own time, for one-process sides on a busy machine

    @property
    def layers(self) -> list[tuple[int, int]]:
        return list(pairwise(self.sizes))

    @property
    def rate(self) -> float:
        return RATES[self.optimizer]

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.sizes))}, {self.batch}"

    @property
    def flops(self) -> float:
        """Floating-point operations of a step's matrix products: x w, x^T d, and d w^T but for the first layer."""
        products = [inputs * outputs for inputs, outputs in self.layers]
        return 2.0 * self.batch * (3 * sum(products) - products[0])

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Features (N, F) float32 and labels (N,) int64 that a linear teacher gave them."""
        random = np.random.Generator(np.random.Philox(key=1))
        x = random.standard_normal((self.samples, self.sizes[0]), dtype=np.float32)
        teacher = random.standard_normal((self.sizes[0], self.sizes[-1]), dtype=np.float32)
        return x, (x @ teacher).argmax(axis=1)

    def save(self, folder: Path, params: dict[str, np.ndarray], order: np.ndarray) -> None:
        """Write the task, the initial parameters and the first epoch's order of samples (N,) for the peers."""
        (folder / "task.json").write_text(json.dumps(asdict(self)))
        np.savez(folder / "start.npz", order=order, **params)


def load_task(folder: Path) -> Task:
    fields = json.loads((folder / "task.json").read_text())
    return Task(**fields | {"sizes": tuple(fields["sizes"]), "cores": tuple(fields["cores"])})


@dataclass(frozen=True)
class Start:
    """Where training starts: params, weights (inputs, outputs) and biases in turn; order (N,) of the first epoch."""

    params: list[np.ndarray]
    order: np.ndarray


def load_start(folder: Path, task: Task) -> Start:
    with np.load(folder / "start.npz") as arrays:
        numbers = range(1, len(task.layers) + 1)
        names = [f"dense_{number}.{kind}" for number in numbers for kind in ("weight", "bias")]
        return Start([arrays[name] for name in names], arrays["order"])


Train = Callable[[np.ndarray], list[float]]


def take_turn(task: Task, start: Start, train: Train, agree: Callable[[float], float] = lambda number: number) -> str:
    """A peer's turn, as JSON: the losses of the first steps, and the seconds of each measured epoch.

    train(rows (steps, B)) trains on these minibatches and returns their losses. agree: makes a number of one process
    known to all that work together. Two epochs pass before the measured ones: compilers and caches are warm then.
    """
    random, now = np.random.Generator(np.random.Philox(key=2)), CLOCKS[task.clock]
    losses = train(start.order[: CHECKED_STEPS * task.batch].reshape(CHECKED_STEPS, task.batch))

    def epoch() -> float:
        begin = now()
        rows = random.permutation(task.samples)[: task.samples // task.batch * task.batch]
        train(rows.reshape(-1, task.batch))
        return now() - begin

    epoch()
    epochs = max(2, math.ceil(task.seconds / agree(epoch())))
    return json.dumps({"losses": losses, "seconds": [epoch() for _ in range(epochs)]})
