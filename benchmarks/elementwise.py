"""Nanoseconds an element on one core: elementary functions, activations with their gradients, losses.

Run: python benchmarks/elementwise.py [--rows 128] [--columns 100]
"""

import argparse
import functools
import time
from collections.abc import Callable

import numpy as np

from distprop.kernels import elementary, losses
from distprop.kernels.activations import BACKWARD, FORWARD
from distprop.kernels.jit import kernel


@kernel
def exp_all(y, x):
    for i in range(x.size):
        y[i] = elementary.exp(x[i])


@kernel
def log_all(y, x):
    for i in range(x.size):
        y[i] = elementary.log(x[i])


@kernel
def erf_all(y, x):
    for i in range(x.size):
        y[i] = elementary.erf(x[i])


def nanoseconds(call: Callable[[], None], elements: int) -> float:
    """The best of several runs of about a millisecond."""
    call()
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter()
        for _ in range(20):
            call()
        best = min(best, (time.perf_counter() - start) / 20)
    return best / elements * 1e9


def print_functions(dtype: type, elements: int) -> None:
    rng = np.random.default_rng(1)
    x, dy = rng.uniform(0.1, 3, elements).astype(dtype), rng.normal(size=elements).astype(dtype)
    y, dx = np.empty_like(x), np.empty_like(x)
    for name, function in (("exp", exp_all), ("log", log_all), ("erf", erf_all)):
        print(f"{dtype.__name__}  {name:22} {nanoseconds(lambda f=function: f(y, x), elements):6.3f}")
    for name in FORWARD:
        forward = nanoseconds(lambda f=FORWARD[name]: f(y, x), elements)
        backward = nanoseconds(lambda f=BACKWARD[name]: f(dx, dy, x, y), elements)
        print(f"{dtype.__name__}  {name:22} {forward:6.3f}  gradient {backward:6.3f}")


def print_losses(dtype: type, rows: int, columns: int) -> None:
    rng = np.random.default_rng(1)
    z, targets = (rng.normal(size=(rows, columns)).astype(dtype) for _ in range(2))
    labels, weights = rng.integers(0, columns, rows).astype(np.int32), np.ones(rows, dtype)
    values, dz = np.empty_like(weights), np.empty_like(z)
    calls = {
        "mean_squared_error": (targets, ()),
        "mean_absolute_error": (targets, ()),
        "huber": (targets, (1.0,)),
        "binary_cross_entropy": (targets, ()),
        "softmax_cross_entropy": (labels, (0.1, np.empty_like(weights))),
    }
    for name, (wanted, extra) in calls.items():
        arguments = (values, dz, z, wanted, weights, dtype(1 / rows), *extra)
        spent = nanoseconds(functools.partial(getattr(losses, name), *arguments), z.size)
        print(f"{dtype.__name__}  {name:22} {spent:6.3f}  with its gradient")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--columns", type=int, default=100)
    options = parser.parse_args()
    for dtype in (np.float32, np.float64):
        print_functions(dtype, options.rows * options.columns)
        print_losses(dtype, options.rows, options.columns)


if __name__ == "__main__":
    main()
