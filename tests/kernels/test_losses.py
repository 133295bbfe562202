"""Losses against formulas written in NumPy with float64, their gradients against central differences."""

import numpy as np
import pytest

from distprop.kernels import losses

SHAPES = [(1, 1), (3, 1), (5, 7), (7, 10), (2, 33), (0, 3)]
REAL = {  # loss of a row, and what the kernel takes besides
    "mean_squared_error": (lambda z, t: np.mean((z - t) ** 2), ()),
    "mean_absolute_error": (lambda z, t: np.mean(abs(z - t)), ()),
    "huber": (lambda z, t: np.mean([0.5 * e**2 if e <= 0.7 else 0.7 * (e - 0.35) for e in abs(z - t)]), (0.7,)),
    "binary_cross_entropy": (lambda z, t: np.mean(np.logaddexp(0, z) - t * z), ()),
}
SMOOTHINGS = [0.0, 0.1]


def cross_entropy(z, label, smoothing):
    q = np.full(z.size, smoothing / z.size)
    q[label] += 1 - smoothing
    return np.logaddexp.reduce(z) - q[q > 0] @ z[q > 0]


def real_inputs(shape, dtype=np.float64):
    rng = np.random.default_rng(shape)
    z, targets = rng.normal(scale=2, size=shape), rng.uniform(size=shape)
    return z.astype(dtype), targets.astype(dtype), rng.uniform(0.1, 3, shape[0]).astype(dtype)


def call(name, z, targets, weights, scale, *extra):
    values, dz = np.full(len(z), np.nan, z.dtype), np.full_like(z, np.nan)
    scratch = (np.full_like(values, np.nan),) if name == "softmax_cross_entropy" else ()
    getattr(losses, name)(values, dz, z, targets, weights, z.dtype.type(scale), *extra, *scratch)
    return values, dz


def differences(total, z, step=1e-3):
    """d total / dz, with an error of the order of step^4."""
    slope = np.empty_like(z)
    for i in np.ndindex(z.shape):
        values = {}
        for k in (-2, -1, 1, 2):
            moved = z.copy()
            moved[i] += k * step
            values[k] = total(moved)
        slope[i] = (8 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12 * step)
    return slope


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("name", REAL)
def test_real_losses_agree_with_their_formula(name, dtype, tolerance):
    formula, extra = REAL[name]
    for shape in SHAPES:
        z, targets, weights = real_inputs(shape, dtype)
        values, _ = call(name, z, targets, weights, 0.25, *extra)
        rows = zip(*(a.astype(np.float64) for a in (z, targets, weights)), strict=True)
        expected = np.array([w * formula(row, t) for row, t, w in rows])
        np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", REAL)
def test_gradients_of_real_losses_agree_with_central_differences(name):
    formula, extra = REAL[name]
    for shape in SHAPES:
        z, targets, weights = real_inputs(shape)
        error = z - targets
        near_kink = (abs(error) < 0.01) | (abs(abs(error) - 0.7) < 0.01)
        z = np.where(near_kink, targets + 0.3, z)
        _, dz = call(name, z, targets, weights, 0.25, *extra)

        def total(moved, targets=targets, weights=weights):
            return 0.25 * sum(w * formula(row, t) for row, t, w in zip(moved, targets, weights, strict=True))

        np.testing.assert_allclose(dz, differences(total, z), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_softmax_cross_entropy_agrees_with_its_formula(smoothing, dtype, tolerance):
    for shape in SHAPES:
        z, _, weights = real_inputs(shape, dtype)
        labels = (np.arange(shape[0]) % shape[1]).astype(np.int32)
        values, _ = call("softmax_cross_entropy", z, labels, weights, 0.25, smoothing)
        rows = zip(z.astype(np.float64), labels, weights.astype(np.float64), strict=True)
        expected = np.array([w * cross_entropy(row, label, smoothing) for row, label, w in rows])
        np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_gradient_of_softmax_cross_entropy_agrees_with_central_differences(smoothing):
    for shape in SHAPES:
        z, _, weights = real_inputs(shape)
        labels = (np.arange(shape[0]) % shape[1]).astype(np.int32)
        _, dz = call("softmax_cross_entropy", z, labels, weights, 0.25, smoothing)

        def total(moved, labels=labels, weights=weights):
            rows = zip(moved, labels, weights, strict=True)
            return 0.25 * sum(w * cross_entropy(row, label, smoothing) for row, label, w in rows)

        np.testing.assert_allclose(dz, differences(total, z), rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", [*REAL, "softmax_cross_entropy"])
def test_a_weight_of_zero_takes_a_sample_out(name):
    z, targets, weights = real_inputs((5, 3))
    weights[2] = 0
    if name == "softmax_cross_entropy":
        values, dz = call(name, z, np.array([0, 1, 2, 1, 0], np.int32), weights, 1, 0.1)
    else:
        values, dz = call(name, z, targets, weights, 1, *REAL[name][1])
    assert values[2] == 0
    assert not dz[2].any()
    assert values[[0, 1, 3, 4]].all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_and_infinite_logits_give_finite_cross_entropy(dtype):
    z = np.array([[1e30, 0, -1e30], [5, -np.inf, 5], [-800, -801, -802]], dtype)
    values, dz = call("softmax_cross_entropy", z, np.array([0, 0, 1], np.int32), np.ones(3, dtype), 1, 0.0)
    np.testing.assert_allclose(values, [0, np.log(2), np.log(np.exp([1, 0, -1]).sum())], rtol=1e-6)
    np.testing.assert_allclose(dz[:2], [[0, 0, 0], [-0.5, 0, 0.5]], atol=1e-7)


def test_a_wrong_certain_prediction_costs_its_whole_margin():
    values, dz = call("softmax_cross_entropy", np.array([[1e4, 0.0]]), np.array([1], np.int32), np.ones(1), 1, 0.0)
    assert values[0] == 1e4
    assert dz.tolist() == [[1, -1]]


def test_huge_logits_give_finite_binary_cross_entropy():
    z = np.array([[1e30], [-1e30], [1e30], [-800.0]], np.float32)
    targets = np.array([[1], [0], [0], [0]], np.float32)
    values, dz = call("binary_cross_entropy", z, targets, np.ones(4, np.float32), 1)
    np.testing.assert_allclose(values, [0, 0, 1e30, 0], rtol=1e-6)
    assert dz.ravel().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("name", [*REAL, "softmax_cross_entropy"])
def test_nan_in_one_sample_stays_in_that_sample(name):
    for output in range(9):
        z, targets, weights = real_inputs((3, 9))
        z[1, output] = np.nan
        if name == "softmax_cross_entropy":
            values, dz = call(name, z, np.array([0, 1, 2], np.int32), weights, 1, 0.0)
        else:
            values, dz = call(name, z, targets, weights, 1, *REAL[name][1])
        assert np.isnan(values).tolist() == [False, True, False]
        assert np.isnan(dz[1, output])
        assert np.isfinite(dz[[0, 2]]).all()


def test_the_gradient_of_the_absolute_error_is_zero_at_zero():
    z = np.array([[1.0, 2.0, 3.0]])
    _, dz = call("mean_absolute_error", z, np.array([[1.0, 0.5, 3.5]]), np.ones(1), 1)
    np.testing.assert_array_equal(dz * 3, [[0, 1, -1]])


@pytest.mark.parametrize("name", [*REAL, "softmax_cross_entropy"])
def test_a_sample_has_the_same_bits_in_any_block(name):
    z, targets, weights = (a.astype(np.float32) for a in real_inputs((7, 13)))
    extra = (0.1,) if name == "softmax_cross_entropy" else REAL[name][1]
    if name == "softmax_cross_entropy":
        targets = np.arange(7, dtype=np.int32)
    values, dz = call(name, z, targets, weights, 0.3, *extra)
    for start, end in ((0, 1), (1, 4), (4, 7)):
        some, dsome = call(name, z[start:end], targets[start:end], weights[start:end], 0.3, *extra)
        assert some.tobytes() == values[start:end].tobytes()
        assert dsome.tobytes() == dz[start:end].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_rows_sum_to_one_and_follow_the_formula(dtype):
    z = np.random.default_rng(1).normal(scale=4, size=(5, 11)).astype(dtype)
    p = np.full_like(z, np.nan)
    losses.softmax_rows(p, z)
    expected = np.exp(z.astype(np.float64))
    np.testing.assert_allclose(p, expected / expected.sum(axis=1, keepdims=True), rtol=1e-6)
