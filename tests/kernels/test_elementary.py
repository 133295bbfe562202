"""Elementary functions: accuracy against NumPy's float64 and mpmath, special values, the same bits on every CPU."""

import hashlib
import math

import mpmath
import numpy as np
import pytest

from distprop.kernels import elementary
from distprop.kernels.jit import kernel

INFINITY, NAN = math.inf, math.nan
ULPS = {np.float32: 2.0, np.float64: 4.0}


@kernel
def evaluate(out, x):
    """One row of out (8, N) for each function, in the order of NAMES."""
    for i in range(x.size):
        out[0, i] = elementary.exp(x[i])
        out[1, i] = elementary.expm1(x[i])
        out[2, i] = elementary.log(x[i])
        out[3, i] = elementary.log1p(x[i])
        out[4, i] = elementary.tanh(x[i])
        out[5, i] = elementary.erf(x[i])
        out[6, i] = elementary.sigmoid(x[i])
        out[7, i] = elementary.softplus(x[i])


NAMES = ("exp", "expm1", "log", "log1p", "tanh", "erf", "sigmoid", "softplus")


def ours(x):
    out = np.full((len(NAMES), x.size), np.nan, x.dtype)
    evaluate(out, x)
    return dict(zip(NAMES, out, strict=True))


def numpy_values(x):
    """The functions in float64: far more exact than float32 needs."""
    with np.errstate(all="ignore"):
        e = np.exp(-abs(x))
        return {
            "exp": np.exp(x),
            "expm1": np.expm1(x),
            "log": np.log(x),
            "log1p": np.log1p(x),
            "tanh": np.tanh(x),
            "erf": np.fromiter(map(math.erf, x.tolist()), np.float64, x.size),
            "sigmoid": np.where(x >= 0, 1 / (1 + e), e / (1 + e)),
            "softplus": np.maximum(x, 0) + np.log1p(e),
        }


MPMATH = {
    "exp": (mpmath.exp, -745.2, 709.78),
    "expm1": (mpmath.expm1, -40, 709.78),
    "log": (mpmath.log, 0, INFINITY),
    "log1p": (mpmath.log1p, -1, INFINITY),
    "tanh": (mpmath.tanh, -INFINITY, INFINITY),
    "erf": (mpmath.erf, -INFINITY, INFINITY),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), -745.2, INFINITY),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), -745.2, 1000),
}


def worst_ulps_of_single(step, offset):
    """The largest error of each function over every `step`-th bit pattern; NaN and infinity must agree exactly."""
    worst = dict.fromkeys(NAMES, 0.0)
    for start in range(offset, 2**32, 2**26 // step * step):
        bits = np.arange(start, min(start + 2**26 // step * step, 2**32), step, dtype=np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):  # signalling NaNs, values that are infinite in float32
            found, expected = ours(x), numpy_values(x.astype(np.float64))
            nearest = {name: expected[name].astype(np.float32) for name in NAMES}
        for name, rounded in nearest.items():
            finite = np.isfinite(rounded)
            assert np.array_equal(found[name][~finite], rounded[~finite], equal_nan=True), name
            error = abs(found[name][finite].astype(np.float64) - expected[name][finite])
            worst[name] = max(worst[name], np.max(error / np.spacing(abs(rounded[finite])), initial=0.0))
    return worst


@pytest.mark.parametrize("step", [9973, pytest.param(31, marks=pytest.mark.long)])
def test_float32_is_within_two_ulps_over_all_bit_patterns(step):
    worst = worst_ulps_of_single(step, offset=7)
    print({name: round(float(error), 3) for name, error in worst.items()})
    assert max(worst.values()) <= ULPS[np.float32], worst


def samples(name, count):
    """float64 numbers from the function's range: evenly spread, near zero, and of every magnitude with both signs."""
    rng = np.random.default_rng(3)
    _, low, high = MPMATH[name]
    even = rng.uniform(max(low, -800), min(high, 800), count)
    magnitudes = np.exp2(np.concatenate([rng.uniform(-1074, 1023, count), rng.uniform(-60, 4, count)]))
    x = np.concatenate([even, rng.uniform(-2, 2, count), magnitudes, -magnitudes])
    return x[(x > low) & (x < high)]


def ulps(found, exact):
    nearest = float(exact)
    if not math.isfinite(nearest) or not math.isfinite(found):
        return 0.0 if nearest == found else INFINITY
    return float(abs(mpmath.mpf(found) - exact) / float(np.spacing(abs(nearest))))


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NAMES)
def test_float64_is_within_four_ulps_of_mpmath(name, count):
    x = samples(name, count)
    found = ours(x)[name]
    with mpmath.workprec(140):
        worst = max(ulps(float(y), MPMATH[name][0](mpmath.mpf(float(v)))) for v, y in zip(x, found, strict=True))
    print(f"{name}: {worst:.3f} ulp")
    assert worst <= ULPS[np.float64]


SPECIAL = {  # at 0, -0, infinity, -infinity, NaN
    "exp": (1, 1, INFINITY, 0, NAN),
    "expm1": (0, -0.0, INFINITY, -1, NAN),
    "log": (-INFINITY, -INFINITY, INFINITY, NAN, NAN),
    "log1p": (0, -0.0, INFINITY, NAN, NAN),
    "tanh": (0, -0.0, 1, -1, NAN),
    "erf": (0, -0.0, 1, -1, NAN),
    "sigmoid": (0.5, 0.5, 1, 0, NAN),
    "softplus": (math.log(2), math.log(2), INFINITY, 0, NAN),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_zeros_infinities_and_nan_give_what_ieee_754_asks_for(name, dtype):
    found = ours(np.array([0.0, -0.0, INFINITY, -INFINITY, NAN], dtype))[name]
    expected = np.array(SPECIAL[name], dtype)
    assert np.array_equal(found, expected, equal_nan=True)
    known = ~np.isnan(expected)
    assert np.array_equal(np.signbit(found[known]), np.signbit(expected[known]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithms_at_the_ends_of_their_range(dtype):
    found = ours(np.array([-1, -1.5, 1], dtype))
    assert np.isnan(found["log"][:2]).all()
    assert found["log"][2] == 0
    assert found["log1p"][0] == -INFINITY
    assert np.isnan(found["log1p"][1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_element_gets_the_same_bits_in_a_vector_and_alone(dtype):
    x = np.random.default_rng(1).normal(scale=5, size=67).astype(dtype)
    together = ours(x)
    for i in range(x.size):
        alone = ours(x[i : i + 1])
        assert all(alone[name].tobytes() == together[name][i : i + 1].tobytes() for name in NAMES)


def digest():
    """SHA-256 of all functions over many numbers of both types, NaNs left out as their bits mean nothing."""
    collected = hashlib.sha256()
    x = np.random.default_rng(2).normal(scale=20, size=10_001)
    for dtype in (np.float32, np.float64):
        for y in ours(x.astype(dtype)).values():
            collected.update(y[~np.isnan(y)].tobytes())
    return collected.hexdigest()


LONG = [pytest.param(cpu, marks=pytest.mark.long) for cpu in ("haswell", "skylake-avx512", "znver3")]


@pytest.mark.parametrize("cpu", ["x86-64", *LONG])
def test_code_for_another_cpu_gives_the_same_bits(cpu, output_on):
    assert output_on(cpu, __file__) == digest()


if __name__ == "__main__":
    print(digest())
