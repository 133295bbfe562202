"""The products of a fully connected layer, bit for bit, against plain loops in the order that the laws prescribe."""

from itertools import pairwise

import numba
import numpy as np
import pytest

from distprop.kernels import dense
from distprop.kernels.floats import fma

SIZES = [
    (1, 1, 1),
    (2, 3, 5),
    (7, 5, 3),
    (6, 16, 16),
    (5, 33, 10),
    (13, 7, 65),
    (17, 100, 2),
    (12, 17, 129),
    (31, 50, 47),
]
TYPES = [np.float32, np.float64]
GUARD = 37


@numba.njit
def chain_products(c, a, b, start):
    """c[i, j] = start[j] + a[i, 0] b[0, j] + a[i, 1] b[1, j] + ..., each step one fused multiply-add."""
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            total = start[j]
            for k in range(a.shape[1]):
                total = fma(a[i, k], b[k, j], total)
            c[i, j] = total


def chains(a, b, start=None):
    c = np.empty((a.shape[0], b.shape[1]), a.dtype)
    chain_products(
        c, np.ascontiguousarray(a), np.ascontiguousarray(b), np.zeros(b.shape[1], b.dtype) if start is None else start
    )
    return c


def tree(parts):
    """The sum over the left-complete binary tree, by its recursive definition."""
    if len(parts) == 1:
        return parts[0]
    half = 1
    while 2 * half < len(parts):
        half *= 2
    return tree(parts[:half]) + tree(parts[half:])


def sum_of_rows(rows):
    total = np.zeros(rows.shape[1], rows.dtype)
    for row in rows:
        total = total + row
    return total


def numbers(shape, dtype, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def guarded(shape, dtype):
    """A NaN-filled output in the middle of a larger buffer, and a function that checks the cells around it."""
    size = int(np.prod(shape))
    buffer = np.full(size + 2 * GUARD, 12345, dtype)
    out = buffer[GUARD : GUARD + size]
    out[:] = np.nan

    def check():
        assert (buffer[:GUARD] == 12345).all() and (buffer[GUARD + size :] == 12345).all(), "written outside the output"

    return out.reshape(shape), check


def scratch_for(inputs, outputs, shards, dtype):
    size = dense.scratch_elements(inputs, outputs, shards, dtype)
    buffer = np.full(size + GUARD, 12345, dtype)
    buffer[:size] = np.nan

    def check():
        assert (buffer[size:] == 12345).all(), "written outside the scratch"

    return buffer[:size], check


def run(kernel, outputs, *inputs, layer, shards=1):
    """Call a kernel with guarded outputs of the given shapes and guarded scratch; return the outputs."""
    dtype = inputs[0].dtype
    made, checks = zip(*[guarded(shape, dtype) for shape in outputs], strict=True)
    scratch, check = scratch_for(*layer, shards, dtype)
    kernel(*made, *inputs, scratch)
    for check_one in (*checks, check):
        check_one()
    return made if len(made) > 1 else made[0]


def equal_bits(actual, expected):
    np.testing.assert_array_equal(actual.view(f"u{actual.itemsize}"), expected.view(f"u{expected.itemsize}"))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "i", "o"), SIZES)
def test_forward_is_one_chain_of_fused_multiply_adds_from_the_bias(n, i, o, dtype):
    x, w, b = numbers((n, i), dtype), numbers((i, o), dtype), numbers((o,), dtype)
    y = run(dense.dense_forward, [(n, o)], x, w, b, layer=(i, o))
    equal_bits(y, chains(x, w, b))
    np.testing.assert_allclose(y, x.astype(float) @ w.astype(float) + b, atol=1e-4 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "i", "o"), SIZES)
def test_forward_without_bias_starts_from_zero(n, i, o, dtype):
    x, w = numbers((n, i), dtype), numbers((i, o), dtype)
    equal_bits(run(dense.dense_forward_without_bias, [(n, o)], x, w, layer=(i, o)), chains(x, w))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "i", "o"), SIZES)
def test_the_gradient_of_the_input_is_one_chain_over_the_outputs(n, i, o, dtype):
    d, w = numbers((n, o), dtype), numbers((i, o), dtype)
    dx = run(dense.dense_backward_input, [(n, i)], d, w, layer=(i, o))
    equal_bits(dx, chains(d, w.T))
    np.testing.assert_allclose(dx, d.astype(float) @ w.T.astype(float), atol=1e-4 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "bounds",
    [[0, 31], [3, 3, 3], [0, 5, 5, 11], [2, 3, 4, 5, 6, 7], [31, 31, 31, 31], list(range(32)), list(range(3, 20))],
)
@pytest.mark.parametrize(("i", "o"), [(1, 1), (5, 3), (33, 10), (7, 65), (20, 129)])
def test_the_gradients_of_the_parameters_sum_the_shards_over_the_tree(i, o, bounds, dtype):
    x, d, rows = numbers((31, i), dtype), numbers((31, o), dtype), np.array(bounds)
    dw, db = run(dense.dense_backward_params, [(i, o), (o,)], x, d, rows, layer=(i, o), shards=len(bounds) - 1)
    shards = [slice(first, end) for first, end in pairwise(bounds)]
    equal_bits(dw, tree([chains(x[shard].T, d[shard]) for shard in shards]))
    equal_bits(db, tree([sum_of_rows(d[shard]) for shard in shards]))
    equal_bits(run(dense.dense_backward_weights, [(i, o)], x, d, rows, layer=(i, o), shards=len(shards)), dw)
