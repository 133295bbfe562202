"""Matrix products of fully connected layers: how many times faster than NumPy's, on one core.

For each shape: y = x w + b (NumPy's without b), dw = x^T d in one shard and in as many as a minibatch of these rows has
by default, dx = d w^T. Above 1 ours is faster. Time is the thread's own, so that other processes disturb little.
Run: python benchmarks/matmul.py [--dtype float64] [--core 1] [--quick]
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import argparse
import time
from collections.abc import Callable
from statistics import geometric_mean
from typing import Any

import numpy as np

from distprop.kernels import dense

ROWS = (16, 32, 64, 128, 256, 1024)
LAYERS = ((784, 256), (256, 128), (1024, 1024), (300, 300), (64, 64), (128, 10), (64, 2))
DESIGN = {(n, *layer) for n in (16, 32, 64, 128, 256, 1024) for layer in LAYERS[:3]}
COLUMNS = ("x w", "x^T d", "x^T d, shards", "d w^T")
IDENTITY = dense.FUSED["identity"]
RUNS = 25
FLOPS_PER_RUN = 4e7


def seconds(function: Callable[[], Any], repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        function()
    return (time.thread_time() - start) / repeats


def best_times(functions: list[Callable[[], Any]], repeats: int, runs: int) -> list[float]:
    """The best time of each; they take turns, so that a disturbance hits all."""
    return [min(times) for times in zip(*[[seconds(f, repeats) for f in functions] for _ in range(runs)], strict=True)]


def functions(n: int, i: int, o: int, dtype: str) -> list[Callable[[], Any]]:
    """The four products, and NumPy's three."""
    random = np.random.default_rng(0)
    x, d, w, b = (random.standard_normal(shape).astype(dtype) for shape in ((n, i), (n, o), (i, o), (o,)))
    y, dx, dw = np.empty_like(d), np.empty_like(x), np.empty_like(w)
    shards = min(16, n // 8)  # what a minibatch of n rows has by default
    one, many = np.array([0, n]), np.arange(shards + 1) * n // shards
    scratch = np.empty(dense.scratch_elements(n, i, o, 16, dtype), dtype)
    return [
        lambda: dense.dense_forward(y, x, w, b, IDENTITY, scratch),
        lambda: dense.dense_backward_weights(dw, x, d, 0, one, scratch),
        lambda: dense.dense_backward_weights(dw, x, d, 0, many, scratch),
        lambda: dense.dense_backward_input(dx, d, w, x, IDENTITY, scratch),
        lambda: np.matmul(x, w, out=y),
        lambda: np.matmul(x.T, d, out=dw),
        lambda: np.matmul(d, w.T, out=dx),
    ]


def ratios(shape: tuple[int, int, int], dtype: str, runs: int) -> tuple[list[float], float]:
    """NumPy's time over ours for each column, and our GFLOP/s for y = x w + b."""
    flops = 2.0 * shape[0] * shape[1] * shape[2]
    calls = functions(*shape, dtype)
    for call in calls:
        call()
    *ours, forward, weights, inputs = best_times(calls, max(1, int(FLOPS_PER_RUN / flops)), runs)
    baseline = (forward, weights, weights, inputs)
    return [theirs / mine for theirs, mine in zip(baseline, ours, strict=True)], flops / ours[0] * 1e-9


def report(name: str, rows: list[list[float]], summary: Callable[[list[float]], float] = geometric_mean) -> None:
    print(f"{name:>18}" + "".join(f"{summary(list(column)):14.2f}" for column in zip(*rows, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--quick", action="store_true", help="nine runs instead of 25, and only the design's shapes")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    print(f"{'rows x in x out':>18}" + "".join(f"{column:>14}" for column in COLUMNS) + f"{'GFLOP/s':>10}")
    table = {}
    for shape in [(n, *layer) for n in ROWS for layer in LAYERS]:
        if options.quick and shape not in DESIGN:
            continue
        table[shape], speed = ratios(shape, options.dtype, 9 if options.quick else RUNS)
        print(f"{'x'.join(map(str, shape)):>18}" + "".join(f"{r:14.2f}" for r in table[shape]) + f"{speed:10.1f}")
    design = {shape: row for shape, row in table.items() if shape in DESIGN}
    print("geometric means of the shapes with layers " + ", ".join(f"{i}x{o}" for i, o in LAYERS[:3]))
    report("16 to 256 rows", [row for shape, row in design.items() if shape[0] <= 256])
    report("1024 rows", [row for shape, row in design.items() if shape[0] == 1024])
    report("worst shape", list(design.values()), min)
    print("of all shapes")
    report("mean", list(table.values()))
    report("worst shape", list(table.values()), min)


if __name__ == "__main__":
    main()
