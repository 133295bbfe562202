"""Activations, losses, metric sums and tree sums have the same bits whatever CPU they are compiled for."""

import hashlib

import numpy as np
import pytest

from distprop.kernels import losses
from distprop.kernels.activations import BACKWARD, FORWARD
from distprop.kernels.metrics import regression_sums
from distprop.kernels.tree import BLOCK, column_sums, tree_sum

ROWS, COLUMNS = 37, 19


def elementwise(x, dy):
    for name in FORWARD:
        y, dx = np.empty_like(x), np.empty_like(x)
        FORWARD[name](y, x)
        BACKWARD[name](dx, dy, x, y)
        yield from (y, dx)


def rowwise(z, targets, weights, labels):
    values, dz, scale = np.empty_like(weights), np.empty_like(z), z.dtype.type(0.01)
    extras = {"mean_squared_error": (), "mean_absolute_error": (), "huber": (0.7,), "binary_cross_entropy": ()}
    for name, extra in extras.items():
        getattr(losses, name)(values, dz, z, targets, weights, scale, *extra)
        yield from (values, dz)
    losses.softmax_cross_entropy(values, dz, z, labels, weights, scale, 0.1, np.empty_like(weights))
    yield from (values, dz)


def sums(values, weights):
    out, scratch = np.empty(COLUMNS, values.dtype), np.empty((8, BLOCK), values.dtype)
    column_sums(out, values, np.array([0, 5, 9, 20, ROWS]), np.empty((3, COLUMNS), values.dtype))
    yield out
    tree_sum(out, values, np.array([0, 1, -1, 2, 3, -1, -1, 4, -1], np.int32), scratch)
    yield out
    table = np.zeros((COLUMNS, 5))
    regression_sums(table, values, values[::-1].copy(), weights, np.full(COLUMNS, 0.1))
    yield table


def digest():
    rng = np.random.default_rng(8)
    collected = hashlib.sha256()
    for dtype in (np.float32, np.float64):
        z, targets = (rng.normal(scale=3, size=(ROWS, COLUMNS)).astype(dtype) for _ in range(2))
        weights, labels = rng.uniform(0.5, 2, ROWS).astype(dtype), rng.integers(0, COLUMNS, ROWS).astype(np.int32)
        for group in (elementwise(z.ravel(), targets.ravel()), rowwise(z, targets, weights, labels), sums(z, weights)):
            for array in group:
                collected.update(array.tobytes())
    return collected.hexdigest()


@pytest.mark.long
@pytest.mark.parametrize("cpu", ["haswell", "x86-64", "skylake-avx512", "znver3"])
def test_code_for_another_cpu_gives_the_same_bits(cpu, output_on):
    assert output_on(cpu, __file__) == digest()


if __name__ == "__main__":
    print(digest())
