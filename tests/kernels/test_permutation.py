"""The shuffle: each number once, no visible structure, any part of it without the rest."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprop.kernels.permutation import KEYS, minibatch_indices, sequential_indices


def shuffled(samples: int, seed: int = 0, epoch: int = 0, start: int = 0, stop: int | None = None) -> np.ndarray:
    indices = np.full((samples if stop is None else stop) - start, -1, np.int64)
    minibatch_indices(indices, np.zeros(KEYS, np.uint64), start, samples, seed, epoch)
    return indices


def shuffles(samples: int, epochs: int, seed: int = 3) -> np.ndarray:
    return np.array([shuffled(samples, seed, epoch) for epoch in range(epochs)])


def assert_uniform(counts: np.ndarray) -> None:
    """Pearson's chi-square is within 4.5 standard deviations of its expectation for equal probabilities."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2).sum() / expected
    freedom = counts.size - 1
    assert abs(statistic - freedom) < 4.5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("samples", range(1, 131))
def test_every_sample_comes_once(samples):
    for epoch in range(3):
        assert sorted(shuffled(samples, 7, epoch)) == list(range(samples))


@settings(max_examples=50)
@given(st.integers(1, 20_000), st.integers(0, 2**63 - 1), st.integers(0, 2**48 - 1))
def test_every_sample_comes_once_for_any_seed_and_epoch(samples, seed, epoch):
    assert np.array_equal(np.sort(shuffled(samples, seed, epoch)), np.arange(samples))


@given(st.integers(10_000, 2**40), st.data())
def test_places_of_a_huge_data_set_hold_different_samples_of_it(samples, data):
    start = data.draw(st.integers(0, samples - 1000))
    indices = shuffled(samples, 1, 2, start, start + 1000)
    assert len(np.unique(indices)) == 1000
    assert indices.min() >= 0
    assert indices.max() < samples


@pytest.mark.parametrize("samples", [2**40, 2**40 - 1, 2**32 + 1, 10**9])
def test_a_huge_shuffle_fills_its_range_evenly(samples):
    indices = shuffled(samples, 5, 0, 0, 20_000)
    assert_uniform(np.bincount(indices * 100 // samples, minlength=100))


def test_a_part_of_the_shuffle_is_the_same_as_in_the_whole():
    whole = shuffled(1001, 5, 6)
    for start, stop in [(0, 1), (0, 128), (128, 256), (999, 1001), (17, 17)]:
        assert np.array_equal(shuffled(1001, 5, 6, start, stop), whole[start:stop])


def test_keys_that_are_kept_are_those_of_the_epoch_that_is_asked_for():
    keys, indices = np.zeros(KEYS, np.uint64), np.empty(50, np.int64)
    for epoch in (0, 0, 1, 5, 1, 0):
        minibatch_indices(indices, keys, 7, 1001, 5, epoch)
        assert np.array_equal(indices, shuffled(1001, 5, epoch, 7, 57))


def test_seeds_and_epochs_shuffle_differently():
    keys = [(0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32), (2**63 - 1, 5)]
    orders = {tuple(shuffled(50, seed, epoch)) for seed, epoch in keys}
    assert len(orders) == len(keys)


@pytest.mark.parametrize("samples", [2, 3, 4, 5, 6])
def test_every_order_of_a_small_data_set_is_equally_likely(samples):
    places = {order: place for place, order in enumerate(itertools.permutations(range(samples)))}
    orders = shuffles(samples, 30 * len(places) + 2000)
    assert_uniform(np.bincount([places[tuple(order)] for order in orders], minlength=len(places)))


@pytest.mark.parametrize("samples", [7, 9, 10, 16, 20, 49, 100])
def test_every_sample_is_equally_likely_at_every_place(samples):
    orders = shuffles(samples, 4000)
    cells = (np.arange(samples) * samples + orders).ravel()
    assert_uniform(np.bincount(cells, minlength=samples**2))


@pytest.mark.parametrize("samples", [7, 9, 16, 20])
def test_every_pair_of_samples_is_equally_likely_at_neighbouring_places(samples):
    orders = shuffles(samples, 4000)
    counts = np.bincount((orders[:, :-1] * samples + orders[:, 1:]).ravel(), minlength=samples**2)
    assert counts.reshape(samples, samples).trace() == 0
    assert_uniform(counts[~np.eye(samples, dtype=bool).ravel()])


@pytest.mark.parametrize("samples", [8, 9, 12, 16, 25, 49, 81])
def test_even_and_odd_orders_are_equally_likely(samples):
    orders = shuffles(samples, 4000)
    inversions = sum((orders[:, [i]] > orders[:, i + 1 :]).sum(axis=1) for i in range(samples))
    assert_uniform(np.bincount(inversions % 2, minlength=2))


@pytest.mark.parametrize("samples", [1000, 60_000, 2**17])
def test_neighbours_in_a_shuffle_are_not_correlated(samples):
    order = shuffled(samples, 11).astype(float)
    for lag in (1, 2, 3, 7, int(math.sqrt(samples))):
        correlation = np.corrcoef(order[:-lag], order[lag:])[0, 1]
        assert abs(correlation) < 4.5 / math.sqrt(samples)


def test_the_order_without_a_shuffle_is_the_data_sets():
    indices = np.full(5, -1, np.int64)
    sequential_indices(indices, 17)
    assert indices.tolist() == [17, 18, 19, 20, 21]
