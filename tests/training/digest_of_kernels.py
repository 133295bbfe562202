"""Prints a digest for each group of kernels; run by test_cpu_targets.py, compiled for one CPU after the other."""

import hashlib

import numpy as np

from distprop.config.optimizers import SGD, AdaGrad, AdamW, Momentum, Nesterov, RMSprop
from distprop.kernels.dropout import dropout_forward
from distprop.kernels.norms import BLOCK, block_square_sums
from distprop.kernels.permutation import KEYS, minibatch_indices
from distprop.kernels.step import CLOCK, DONE, STEP
from distprop.network.initializers import initialize
from distprop.network.layout import Layout, Parameter
from distprop.training.optimizers import Updater

LENGTH = 2 * BLOCK + 77
LAYOUT = Layout((Parameter("weight", (LENGTH - 9,), 0, True, "zeros", 0),), LENGTH)


def show(name: str, *arrays: np.ndarray) -> None:
    print(name, hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16], sep="=")


def random_values(seed: int, number: int) -> np.ndarray:
    values = np.full(LENGTH, np.nan, np.float32)
    initialize(values, "lecun_normal", 1, 1, seed, number)
    return values


def show_update(optimizer: SGD | Momentum | Nesterov | AdaGrad | RMSprop | AdamW) -> None:
    params, updater = random_values(1, 0), Updater(optimizer, LAYOUT, [slice(0, LENGTH)], np.float32)
    clock, gradient = np.zeros(CLOCK, np.int64), np.zeros(LENGTH, np.float32)
    update = updater.update(params, gradient, 0, slice(0, LENGTH))
    calls = [*updater.prepare(np.full(4, optimizer.learning_rate), clock, np.array([50.0])), *update]
    for step in range(4):
        clock[[STEP, DONE]], gradient[:] = step, random_values(2, step)
        for call in calls:
            call()
    show(optimizer.type, params, *updater.slots().values())


def main() -> None:
    indices = np.full(1000, -1, np.int64)
    minibatch_indices(indices, np.zeros(KEYS, np.uint64), 10, 60_000, 3, 4)
    show("shuffle", indices)
    show("weights", random_values(5, 6))
    x = random_values(7, 8).reshape(-1, 25)
    y, mask = np.full_like(x, np.nan), np.full_like(x, np.nan)
    dropout_forward(y, mask, x, indices[: len(x)], np.array([9]), 10, 11, 0.3)
    show("dropout", y, mask)
    sums = np.full(3, np.nan)
    block_square_sums(sums, x.reshape(-1))
    show("norm", sums)
    for kind in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, AdamW):
        show_update(kind(l1=1e-3, l2=1e-2, weight_decay=0.1, clip_norm=20.0, clip_value=2.0))


if __name__ == "__main__":
    main()
