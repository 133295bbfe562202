"""Training and validation rows: a partition of the right size, the same for ever."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprop.data.split import choose_validation

counts = st.integers(2, 300)
fractions = st.floats(0.001, 0.999)
seeds = st.integers(0, 2**63 - 1)


@given(counts, fractions, seeds)
def test_every_row_is_in_exactly_one_part_in_order(count: int, fraction: float, seed: int) -> None:
    training, validation = choose_validation(count, fraction, seed)
    assert sorted([*training, *validation]) == list(range(count))
    assert (np.diff(training) > 0).all() and (np.diff(validation) > 0).all()
    assert len(validation) == min(max(1, round(fraction * count)), count - 1)
    assert training.dtype == validation.dtype == np.int64


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), fractions, seeds)
def test_each_class_gives_its_share_to_within_one_row_and_keeps_one(
    sizes: list[int], fraction: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    np.random.default_rng(0).shuffle(labels)
    training, validation = choose_validation(len(labels), fraction, seed, labels)
    assert sorted([*training, *validation]) == list(range(len(labels)))
    wanted = min(max(1, round(fraction * len(labels))), len(labels) - 1)
    given_, kept = Counter(labels[validation].tolist()), Counter(labels[training].tolist())
    for label, size in enumerate(sizes):
        share = Fraction(wanted * size, len(labels))
        assert abs(given_[label] - share) <= 1
        assert kept[label] >= 1
    assert len(validation) <= wanted


def test_a_split_never_changes_between_versions() -> None:
    _, validation = choose_validation(20, 0.25, 7)
    keys = np.random.Philox(key=7).random_raw(20).tolist()
    assert validation.tolist() == sorted(sorted(range(20), key=lambda row: keys[row])[:5])
    assert validation.tolist() == [1, 4, 6, 8, 16]


def test_shares_are_rounded_by_the_largest_remainder() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] * 3, np.int32)
    _, validation = choose_validation(12, 0.25, 0, labels)
    # Shares 1.5, 0.75, 0.75: the third row doesn't go to the largest class.
    assert Counter(labels[validation].tolist()) == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeds_at_both_ends_work(seed: int) -> None:
    assert len(choose_validation(3, 0.5, seed)[1]) == 2
