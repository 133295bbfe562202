"""Dropout's mask: its share, its values, and that it depends on nothing but its key."""

import numpy as np
import pytest

from distprop.kernels.dropout import dropout_backward, dropout_forward
from distprop.kernels.random import philox_words

SEED, LAYER, STEP = 5, 3, 11


def forward(x, samples, seed=SEED, layer=LAYER, step=STEP, rate=0.3):
    y, mask = np.full_like(x, np.nan), np.full_like(x, np.nan)
    dropout_forward(y, mask, x, np.asarray(samples, np.int64), np.array([step]), seed, layer, rate)
    return y, mask


def expected_mask(units, sample, rate):
    """From blocks of Philox at the documented counters: word w of block b is for unit w Q + b, Q = ceil(units / 4)."""
    quarter = -(-units // 4)
    counters = np.zeros((quarter, 4), np.uint64)
    counters[:, 0] = sample % 2**32
    counters[:, 1] = sample // 2**32 + 2**8 * np.arange(quarter)
    counters[:, 2] = STEP
    counters[:, 3] = 2 << 28 | LAYER << 16
    words = np.zeros_like(counters)
    philox_words(words, counters, np.tile(np.array([SEED, 0], np.uint64), (quarter, 1)))
    return np.where(words.T.ravel()[:units] < rate * 2**32, 0, 1 / (1 - rate))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 2, 3, 4, 5, 6, 7, 9, 13, 33, 100, 257])
def test_forward_multiplies_by_the_mask_of_the_documented_counters(units, dtype):
    samples = [4, 0, 2**40 - 1, 59_999]
    x = np.random.default_rng(1).normal(size=(4, units)).astype(dtype)
    y, mask = forward(x, samples)
    assert np.array_equal(mask, np.array([expected_mask(units, sample, 0.3) for sample in samples]).astype(dtype))
    assert np.array_equal(y, x * mask)


def test_the_share_of_zeros_is_the_rate_and_the_mean_stays_one():
    for rate in (0.1, 0.5, 0.9):
        _, mask = forward(np.ones((200, 501)), range(200), rate=rate)
        deviation = np.sqrt(rate * (1 - rate) / mask.size)
        assert abs((mask == 0).mean() - rate) < 4.5 * deviation
        assert abs(mask.mean() - 1) < 4.5 * deviation / (1 - rate)


def test_a_mask_depends_on_its_sample_not_on_its_row():
    x = np.ones((5, 37), np.float32)
    _, mask = forward(x, [9, 8, 7, 6, 5])
    _, alone = forward(x[:2], [6, 9])
    assert np.array_equal(alone, mask[[3, 0]])


def test_seed_layer_step_sample_and_unit_change_the_mask():
    x = np.ones((1, 200))
    masks = [
        forward(x, [0], **changed)[1]
        for changed in ({}, {"seed": 6}, {"seed": SEED + 2**32}, {"layer": 4}, {"step": 12}, {"step": STEP + 2**32})
    ]
    masks += [forward(x, [1])[1], forward(x, [2**32])[1], np.roll(masks[0], 1), np.roll(masks[0], 50)]
    assert len({mask.tobytes() for mask in masks}) == len(masks)


def test_a_rate_of_zero_keeps_everything():
    x = np.random.default_rng(2).normal(size=(3, 11))
    y, mask = forward(x, [0, 1, 2], rate=0.0)
    assert (mask == 1).all()
    assert np.array_equal(y, x)


def test_no_rows_are_no_error():
    assert forward(np.ones((0, 7)), [])[0].shape == (0, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_backward_multiplies_by_the_same_mask(dtype):
    dy = np.random.default_rng(3).normal(size=(5, 13)).astype(dtype)
    _, mask = forward(np.ones_like(dy), range(5))
    dx = np.full_like(dy, np.nan)
    dropout_backward(dx, dy, mask)
    assert np.array_equal(dx, dy * mask)
