"""Schedules against their formulas, evaluated by mpmath to 40 digits."""

import json
from dataclasses import asdict

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprop.config.optimizers import SGD
from distprop.config.schedules import Constant, Cosine, Exponential, Plateau, Polynomial, StepDecay
from distprop.training.schedules import LearningRate, PlateauState, cosine_of_pi, observe, power

STEPS_PER_EPOCH, TOTAL = 7, 61
START = PlateauState()


def rates(schedule, steps_per_epoch=STEPS_PER_EPOCH, total=TOTAL):
    rate = LearningRate(SGD(learning_rate=1.0), schedule, steps_per_epoch, total)
    return [rate.at(step, START) for step in range(total)]


def assert_follows(schedule, formula, warmup_steps=0):
    """formula(t, T): t and T in epochs, as fractions of mpmath."""
    with mpmath.workdps(40):
        length = mpmath.mpf(TOTAL - warmup_steps) / STEPS_PER_EPOCH
        for step, rate in enumerate(rates(schedule)[warmup_steps:]):
            assert abs(rate - formula(mpmath.mpf(step) / STEPS_PER_EPOCH, length)) <= 1e-15


FORMULAS = [
    (Constant, {}, lambda t, T: 1),
    (StepDecay, {"every": 2.0, "factor": 0.3}, lambda t, T: mpmath.mpf(0.3) ** mpmath.floor(t / 2)),
    (StepDecay, {"every": 0.5, "factor": 0.9}, lambda t, T: mpmath.mpf(0.9) ** mpmath.floor(t * 2)),
    (Exponential, {"factor": 0.93}, lambda t, T: mpmath.mpf(0.93) ** t),
    (Cosine, {}, lambda t, T: (1 + mpmath.cospi(t / T)) / 2),
    (Cosine, {"floor": 0.2}, lambda t, T: mpmath.mpf(0.2) + (1 - mpmath.mpf(0.2)) * (1 + mpmath.cospi(t / T)) / 2),
    (Polynomial, {}, lambda t, T: 1 - t / T),
    (Polynomial, {"power": 0.9}, lambda t, T: (1 - t / T) ** mpmath.mpf(0.9)),
    (Polynomial, {"power": 2.0, "floor": 0.25}, lambda t, T: 0.25 + 0.75 * (1 - t / T) ** 2),
    (Polynomial, {"power": 3.0}, lambda t, T: (1 - t / T) ** 3),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "formula"), FORMULAS)
def test_the_factor_follows_its_formula(kind, fields, formula):
    assert_follows(kind(**fields), formula)


@pytest.mark.parametrize(("kind", "fields", "formula"), FORMULAS)
def test_warm_up_rises_in_a_straight_line_to_the_first_value(kind, fields, formula):
    schedule = kind(**fields, warmup=1.5)  # 10.5 steps, rounded to even: 10
    assert rates(schedule)[:10] == pytest.approx([(step + 1) / 10 for step in range(10)], abs=1e-15)
    assert_follows(schedule, formula, warmup_steps=10)


def test_warm_up_may_be_longer_than_the_training():
    assert rates(Cosine(warmup=2.0), 10, 5) == [0.05, 0.1, 0.15, 0.2, 0.25]


def test_steps_of_decay_come_when_due_although_decimals_are_not_exact():
    assert rates(StepDecay(every=0.1, factor=0.5), 10, 6) == [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]


def test_the_learning_rate_is_the_optimizers_times_the_factor():
    rate = LearningRate(SGD(learning_rate=0.3), Polynomial(), 2, 4)
    assert [rate.at(step, START) for step in range(4)] == [0.3, 0.3 * 0.75, 0.3 * 0.5, 0.3 * 0.25]


def observed(schedule, numbers):
    state, factors = START, []
    for number in numbers:
        state = observe(schedule, state, number)
        factors.append(state.factor)
    return factors


def test_a_plateau_lowers_the_factor_after_patience_epochs_without_improvement():
    numbers = [5, 4, 4, 4, 3, 3, 3, 3, 3]
    assert observed(Plateau(factor=0.5, patience=2), numbers) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    assert observed(Plateau(factor=0.5, patience=0), numbers) == observed(Plateau(factor=0.5, patience=1), numbers)


def test_an_improvement_below_min_delta_is_none():
    assert observed(Plateau(factor=0.5, patience=2, min_delta=0.5), [5, 4.75, 4.5]) == [1, 1, 0.5]
    assert observed(Plateau(factor=0.5, patience=2, min_delta=0.5), [5, 4.75, 4.25]) == [1, 1, 1]


def test_a_plateau_does_not_fall_below_its_floor():
    assert observed(Plateau(factor=0.5, patience=1, floor=0.3), [1, 1, 1, 1]) == [1, 0.5, 0.3, 0.3]


def test_nan_is_no_improvement():
    assert observed(Plateau(factor=0.5, patience=2), [float("nan"), float("nan"), 1, float("nan")]) == [
        1,
        0.5,
        0.5,
        0.5,
    ]


def test_the_plateaus_factor_scales_warm_up_too():
    rate = LearningRate(SGD(learning_rate=1.0), Plateau(warmup=1.0), 4, 100)
    state = PlateauState(factor=0.5)
    assert [rate.at(step, state) for step in range(6)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]


def test_a_plateaus_state_survives_json():
    state = observe(Plateau(), observe(Plateau(), START, 0.1), 0.2)
    assert PlateauState(**json.loads(json.dumps(asdict(state)))) == state == PlateauState(0.1, 1, 1.0)


def test_other_schedules_observe_nothing():
    assert LearningRate(SGD(), Cosine(), 4, 100).observe(START, 0.5) == START
    assert LearningRate(SGD(), Plateau(), 4, 100).observe(START, 0.5).best == 0.5


@given(st.floats(0, 1))
def test_the_cosine_is_right_to_the_last_digit(t):
    assert abs(cosine_of_pi(t) - mpmath.cospi(t)) <= 2.3e-16


@given(st.floats(0, 1), st.floats(0, 1000, exclude_min=True))
def test_powers_are_rounded_right(base, exponent):
    with mpmath.workdps(40):
        exact = mpmath.mpf(base) ** mpmath.mpf(exponent)
        assert abs(power(base, exponent) - exact) <= exact * mpmath.mpf(1.2e-16) + mpmath.mpf(5e-324)


def test_cosine_ends_and_powers_of_one_digit_are_exact():
    assert [cosine_of_pi(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([1, 0, -1], abs=1e-16)
    assert (power(0.1, 1), power(0.5, 3), power(0.0, 0.5), power(0.3, 0)) == (0.1, 0.125, 0.0, 1.0)
