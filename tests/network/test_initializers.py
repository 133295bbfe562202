"""Initial weights: their distribution, and that each depends on its key alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprop.kernels.random import philox_words
from distprop.network.initializers import initialize

INPUTS, OUTPUTS = 300, 200
VARIANCES = {"glorot": 2 / (INPUTS + OUTPUTS), "he": 2 / INPUTS, "lecun": 1 / INPUTS}


def weights(initializer, shape=(INPUTS, OUTPUTS), dtype=np.float64, seed=1, number=2):
    out = np.full(shape, np.nan, dtype)
    initialize(out, initializer, INPUTS, OUTPUTS, seed, number)
    return out


def words(element, attempt, seed=1, number=2):
    counter = np.array([[element, attempt << 8, 0, number << 16]], np.uint64)
    out = np.zeros_like(counter)
    philox_words(out, counter, np.array([[seed, 0]], np.uint64))
    return [int(word) for word in out[0]]


def uniform(high, low):
    return ((high >> 5) * 2**26 + (low >> 6)) / 2**53


@pytest.mark.parametrize("family", VARIANCES)
def test_uniform_weights_fill_their_interval_evenly(family):
    w = weights(f"{family}_uniform")
    limit = math.sqrt(3 * VARIANCES[family])
    counts, _ = np.histogram(w, 50, (-limit, limit))
    assert counts.sum() == w.size
    expected = w.size / 50
    assert ((counts - expected) ** 2).sum() / expected < 49 + 4.5 * math.sqrt(2 * 49)
    assert w.var() == pytest.approx(VARIANCES[family], rel=0.02)


@pytest.mark.parametrize("family", VARIANCES)
def test_normal_weights_have_the_moments_and_tails_of_a_normal_distribution(family):
    w = weights(f"{family}_normal") / math.sqrt(VARIANCES[family])
    n = w.size
    assert abs(w.mean()) < 4.5 / math.sqrt(n)
    assert abs((w**2).mean() - 1) < 4.5 * math.sqrt(2 / n)
    assert abs((w**3).mean()) < 4.5 * math.sqrt(15 / n)
    assert abs((w**4).mean() - 3) < 4.5 * math.sqrt(96 / n)
    for limit in (0.5, 1.0, 2.0, 3.0):
        share = math.erfc(limit / math.sqrt(2))
        assert abs((np.abs(w) > limit).mean() - share) < 4.5 * math.sqrt(share * (1 - share) / n)


def test_uniform_weights_are_the_documented_function_of_their_key():
    w = weights("he_uniform", (7,))
    limit = math.sqrt(3 * VARIANCES["he"])
    assert w.tolist() == [limit * (2 * uniform(*words(e, 0)[:2]) - 1) for e in range(7)]


def test_normal_weights_are_the_documented_function_of_their_key():
    def by_definition(element):
        for attempt in range(100):
            a, b, c, d = words(element, attempt)
            x, y = 2 * uniform(a, b) - 1, 2 * uniform(c, d) - 1
            s = x * x + y * y
            if 0 < s < 1:
                return x * math.sqrt(-2 * math.log(s) / s)
        raise AssertionError

    w = weights("lecun_normal", (101,)) / math.sqrt(VARIANCES["lecun"])
    np.testing.assert_allclose(w, [by_definition(e) for e in range(101)], rtol=1e-14)


@pytest.mark.parametrize("initializer", ["he_uniform", "glorot_normal"])
def test_float32_weights_are_rounded_float64_weights(initializer):
    assert np.array_equal(weights(initializer, dtype=np.float32), weights(initializer).astype(np.float32))


@pytest.mark.parametrize("initializer", ["he_uniform", "glorot_normal"])
def test_weights_do_not_depend_on_the_shape(initializer):
    assert np.array_equal(weights(initializer, (5, 7)).ravel(), weights(initializer, (50,))[:35])


@settings(max_examples=20)
@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 4095), st.integers(0, 4095))
def test_another_seed_or_array_has_other_weights(seed, other_seed, number, other_number):
    for initializer in ("he_uniform", "he_normal"):
        same = np.array_equal(
            weights(initializer, (3, 3), seed=seed, number=number),
            weights(initializer, (3, 3), seed=other_seed, number=other_number),
        )
        assert same == ((seed, number) == (other_seed, other_number))


def test_zeros_and_constants_are_constant():
    assert (weights("zeros", (3, 5)) == 0).all()
    assert (weights(0.25, (3, 5), np.float32) == 0.25).all()


def test_a_view_into_the_flat_vector_is_filled_and_nothing_beside_it():
    flat = np.full(20, np.nan, np.float32)
    initialize(flat[4:16].reshape(3, 4), "he_normal", 3, 4, 0, 0)
    assert np.isnan(flat[:4]).all()
    assert np.isfinite(flat[4:16]).all()
    assert np.isnan(flat[16:]).all()
