"""The products of a fully connected layer, bit for bit, against plain loops in the order that the laws prescribe."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

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
    (70, 67, 70),
    (9, 1100, 130),  # weights that are taken in blocks
    (30, 600, 280),  # that are copied although few rows meet them
    (65, 1100, 70),  # that are copied in strips
]
TYPES = [np.float32, np.float64]
ACTIVATIONS = {
    "identity": (lambda z: z, lambda y, dy: dy),
    "relu": (lambda z: np.where(z < 0, z.dtype.type(0), z), lambda y, dy: np.where(y <= 0, dy.dtype.type(0), dy)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, z.dtype.type(0.01) * z),
        lambda y, dy: np.where(y > 0, dy, dy.dtype.type(0.01) * dy),
    ),
}
IDENTITY = dense.FUSED["identity"]
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


def scratch_for(rows, inputs, outputs, shards, dtype):
    size = dense.scratch_elements(rows, inputs, outputs, shards, dtype)
    buffer = np.full(size + GUARD, 12345, dtype)
    buffer[:size] = np.nan

    def check():
        assert (buffer[size:] == 12345).all(), "written outside the scratch"

    return buffer[:size], check


def run(kernel, outputs, *inputs, layer, shards=1):
    """Call a kernel with guarded outputs of the given shapes and guarded scratch; return the outputs."""
    rows, dtype = len(inputs[0]), inputs[0].dtype
    made, checks = zip(*[guarded(shape, dtype) for shape in outputs], strict=True)
    scratch, check = scratch_for(rows, *layer, shards, dtype)
    kernel(*made, *inputs, scratch)
    for check_one in (*checks, check):
        check_one()
    return made if len(made) > 1 else made[0]


def equal_bits(actual, expected):
    np.testing.assert_array_equal(actual.view(f"u{actual.itemsize}"), expected.view(f"u{expected.itemsize}"))


def forward(x, w, b, f="identity"):
    return run(dense.dense_forward, [(len(x), len(b))], x, w, b, dense.FUSED[f], layer=w.shape)


def backward_input(d, w, x=None, f="identity"):
    x = np.full((len(d), len(w)), np.nan, d.dtype) if x is None else x  # not looked at
    return run(dense.dense_backward_input, [x.shape], d, w, x, dense.FUSED[f], layer=w.shape)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "i", "o"), SIZES)
def test_forward_is_one_chain_of_fused_multiply_adds_from_the_bias(n, i, o, dtype):
    x, w, b = numbers((n, i), dtype), numbers((i, o), dtype), numbers((o,), dtype)
    for name, (f, _) in ACTIVATIONS.items():
        equal_bits(forward(x, w, b, name), f(chains(x, w, b)))
    exact = x.astype(float) @ w.astype(float) + b
    np.testing.assert_allclose(forward(x, w, b), exact, atol=5e-4 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "i", "o"), SIZES)
def test_forward_without_bias_starts_from_zero(n, i, o, dtype):
    x, w = numbers((n, i), dtype), numbers((i, o), dtype)
    for name, (f, _) in ACTIVATIONS.items():
        y = run(dense.dense_forward_without_bias, [(n, o)], x, w, dense.FUSED[name], layer=(i, o))
        equal_bits(y, f(chains(x, w)))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("n", "i", "o"), SIZES)
def test_the_gradient_of_the_input_is_one_chain_over_the_outputs_times_the_slope(n, i, o, dtype):
    d, w, x = numbers((n, o), dtype), numbers((i, o), dtype), numbers((n, i), dtype)
    for name, (_, slope) in ACTIVATIONS.items():
        equal_bits(backward_input(d, w, x, name), slope(x, chains(d, w.T)))
    exact = d.astype(float) @ w.T.astype(float)
    np.testing.assert_allclose(backward_input(d, w), exact, atol=1e-4 if dtype is np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "bounds",
    [
        [0, 31],
        [3, 3, 3],
        [0, 5, 5, 11],
        [2, 3, 4, 5, 6, 7],
        [31, 31, 31, 31],
        list(range(32)),
        list(range(3, 20)),
        [1, 3, 8, 9, 9, 12, 17, 31],
    ],
)
@pytest.mark.parametrize(("i", "o"), [(1, 1), (5, 3), (33, 10), (7, 65), (20, 129), (7, 32), (70, 35), (130, 2)])
def test_the_gradients_of_the_parameters_sum_the_shards_over_the_tree(i, o, bounds, dtype):
    x, d, rows = numbers((31, i), dtype), numbers((31, o), dtype), np.array(bounds)
    dw, db = run(dense.dense_backward_params, [(i, o), (o,)], x, d, 0, 0, rows, layer=(i, o), shards=len(bounds) - 1)
    shards = [slice(first, end) for first, end in pairwise(bounds)]
    equal_bits(dw, tree([chains(x[shard].T, d[shard]) for shard in shards]))
    equal_bits(db, tree([sum_of_rows(d[shard]) for shard in shards]))
    equal_bits(run(dense.dense_backward_weights, [(i, o)], x, d, 0, rows, layer=(i, o), shards=len(shards)), dw)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("i", "o"), [(33, 10), (20, 129), (130, 2), (21, 35)])
def test_a_part_of_the_gradient_has_the_bits_of_the_whole(i, o, dtype):
    x, d, rows = numbers((31, i), dtype), numbers((31, o), dtype), np.array([1, 3, 8, 9, 9, 12, 17, 31])
    dw, db = run(dense.dense_backward_params, [(i, o), (o,)], x, d, 0, 0, rows, layer=(i, o), shards=7)
    for begin, end in ((0, 0), (0, 5), (3, 20), (i - 1, i), (i, i)):
        for begin_bias, end_bias in ((0, o), (1, 2), (o, o)):
            shapes = [(end - begin, o), (end_bias - begin_bias,)]
            part, bias = run(dense.dense_backward_params, shapes, x, d, begin, begin_bias, rows, layer=(i, o), shards=7)
            equal_bits(part, dw[begin:end])
            equal_bits(bias, db[begin_bias:end_bias])
        part = run(dense.dense_backward_weights, [(end - begin, o)], x, d, begin, rows, layer=(i, o), shards=7)
        equal_bits(part, dw[begin:end])


@pytest.mark.parametrize("rows", [[], [0, 29], [0, 1, 2, 29], [0, 13, 29]])
def test_rows_have_the_same_bits_wherever_and_with_whomever_they_are_computed(rows):
    (i, o), dtype = (50, 35), np.float32
    x, d, w, b = numbers((29, i), dtype), numbers((29, o), dtype), numbers((i, o), dtype), numbers((o,), dtype)
    y, dx = forward(x, w, b), backward_input(d, w)
    for first, end in pairwise(rows):
        equal_bits(forward(x[first:end], w, b), y[first:end])
        equal_bits(backward_input(d[first:end], w), dx[first:end])


@pytest.mark.parametrize("cuts", [[0, 50], [0, 1, 50], [0, 17, 33, 49, 50]])
@pytest.mark.parametrize("n", [3, 29, 70])
def test_a_sum_over_inputs_that_goes_on_has_the_bits_of_the_whole(n, cuts):
    (i, o), dtype = (50, 35), np.float32
    x, w, b = numbers((n, i), dtype), numbers((i, o), dtype), numbers((o,), dtype)
    for name in ACTIVATIONS:
        for bias in (b, None):
            y, scratch = np.full((n, o), np.nan, dtype), np.empty(dense.scratch_elements(n, i, o, 1, dtype), dtype)
            for begin, end in pairwise(cuts):
                f = dense.FUSED[name if end == i else "identity"]
                if begin:
                    dense.dense_forward_more(y, x, w[begin:end], begin, f, scratch)
                elif bias is None:
                    dense.dense_forward_without_bias(y, x, w[:end], f, scratch)
                else:
                    dense.dense_forward(y, x, w[:end], bias, f, scratch)
            equal_bits(y, forward(x, w, np.zeros_like(b) if bias is None else bias, name))


@pytest.mark.parametrize(("n", "i", "o"), [(5, 70, 40), (70, 40, 20)])
def test_transposing_samples_or_weights_gives_the_same_bits(n, i, o):
    d, w, x = numbers((n, o), np.float32), numbers((i, o), np.float32), numbers((n, i), np.float32)
    few_rows = n * (i + o) < i * o
    assert few_rows == (n == 5), "one shape for each way"
    for name, (_, slope) in ACTIVATIONS.items():
        equal_bits(backward_input(d, w, x, name), slope(x, chains(d, w.T)))


def test_no_rows_give_no_results_and_zero_gradients():
    x, d, w, b = (np.ones(shape, np.float32) for shape in ((0, 5), (0, 3), (5, 3), (3,)))
    assert forward(x, w, b).size == 0
    assert backward_input(d, w, x, "relu").size == 0
    dw, db = run(dense.dense_backward_params, [(5, 3), (3,)], x, d, 0, 0, np.array([0, 0]), layer=(5, 3))
    equal_bits(dw, np.zeros((5, 3), np.float32))
    equal_bits(db, np.zeros(3, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_reaches_exactly_what_depends_on_it(value):
    x, d, w, b = (np.ones(shape, np.float32) for shape in ((9, 20), (9, 18), (20, 18), (18,)))
    x[4, 7] = d[2, 17] = value
    y, dx = forward(x, w, b, "relu"), backward_input(d, w, np.ones_like(x), "relu")
    dw, db = run(
        dense.dense_backward_params, [(20, 18), (18,)], x, d, 0, 0, np.array([0, 3, 9]), layer=(20, 18), shards=2
    )
    assert np.flatnonzero(~np.isfinite(y).all(axis=1)).tolist() == [4]
    assert np.flatnonzero(~np.isfinite(dx).all(axis=1)).tolist() == [2]
    assert np.flatnonzero(~np.isfinite(dw).all(axis=0)).tolist() == [*range(18)]
    assert (~np.isfinite(dw)).sum() == 20 + 18 - 1
    assert np.flatnonzero(~np.isfinite(db)).tolist() == [17]


def test_scratch_may_start_anywhere():
    (n, i, o), bounds = (20, 9, 40), np.arange(0, 21, 2)
    x, d, w = numbers((n, i), np.float32), numbers((n, o), np.float32), numbers((i, o), np.float32)
    size = dense.scratch_elements(n, i, o, 10, np.float32)
    buffer = np.full(size + 64, 12345, np.float32)
    for start in range(0, 32, 5):
        dw, dx = np.empty_like(w), np.empty_like(x)
        dense.dense_backward_weights(dw, x, d, 0, bounds, buffer[start : start + size])
        dense.dense_backward_input(dx, d, w, x, IDENTITY, buffer[start : start + size])
        assert (buffer[start + size :] == 12345).all()
        equal_bits(dw, tree([chains(x[a:b].T, d[a:b]) for a, b in pairwise(bounds)]))
        equal_bits(dx, chains(d, w.T))


DIGEST = """
import hashlib, sys
import numpy as np
from distprop.kernels import dense

dtype = sys.argv[1]
state = hashlib.sha256()
for n, i, o in ((37, 29, 83), (6, 100, 70), (70, 66, 40)):
    random = np.random.default_rng(1)
    x, d, w, b = (random.standard_normal(shape).astype(dtype) for shape in ((n, i), (n, o), (i, o), (o,)))
    y, dx, dw, db = (np.full_like(array, np.nan) for array in (d, x, w, b))
    scratch = np.empty(dense.scratch_elements(n, i, o, 7, dtype), dtype)
    dense.dense_forward(y, x, w, b, dense.FUSED["relu"], scratch)
    dense.dense_backward_input(dx, d, w, x, dense.FUSED["leaky_relu"], scratch)
    dense.dense_backward_params(dw, db, x, d, 0, 0, np.arange(8) * n // 7, scratch)
    for array in (y, dx, dw, db):
        state.update(array.tobytes())
print(state.hexdigest())
"""


def digest(dtype, cpu=None, features=None):
    """The digest of all products, in a new process that compiles for a CPU type; without one, for this machine."""
    target = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features} if cpu else {}
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, dtype],
        env={**os.environ, **target},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    return done.stdout


def test_code_for_a_cpu_without_long_registers_gives_the_same_bits():
    assert digest("float32", "haswell", "+avx2,+fma") == digest("float32")


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_code_for_every_cpu_gives_the_same_bits(dtype):
    targets = {"generic": "", "x86-64": "+sse2", "haswell": "+avx2,+fma", "znver3": "+avx2,+fma"}
    if "avx512f" in Path("/proc/cpuinfo").read_text():
        targets["skylake-avx512"] = "+avx512f,+avx512vl,+avx512dq,+avx512bw,+avx2,+fma"
    digests = {cpu: digest(dtype, cpu, features) for cpu, features in targets.items()}
    assert set(digests.values()) == {digest(dtype)}, digests
