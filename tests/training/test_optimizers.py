"""Each optimizer against its equations in NumPy's float64, written from the configuration's docstrings."""

import itertools
import math

import numpy as np
import pytest

from distprop.config.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop
from distprop.kernels.step import CLOCK, STEP
from distprop.kernels.updates import _clip_scale, _integer_power
from distprop.network.layout import Layout, Parameter
from distprop.training.optimizers import Updater, segments_of

STEPS = 12
OPTIMIZERS = [SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam, AdamW]
REGULARISERS = [
    {},
    {"l1": 0.01},
    {"l2": 0.02},
    {"weight_decay": 0.03},
    {"clip_norm": 5.0},
    {"clip_value": 0.7},
    {"l1": 0.01, "l2": 0.02, "weight_decay": 0.03, "clip_norm": 5.0, "clip_value": 0.7},
]


def parameter(name, shape, offset, is_weight):
    return Parameter(name, shape, offset, is_weight, "zeros", 0)


LAYOUT = Layout(  # odd sizes, gaps up to multiples of 16, a weight of one element
    (
        parameter("a.weight", (7, 5), 0, True),
        parameter("a.bias", (5,), 48, False),
        parameter("b.weight", (1, 1), 64, True),
        parameter("b.bias", (1,), 80, False),
        parameter("c.weight", (11, 3), 96, True),
    ),
    length=144,
)
WEIGHTS = np.zeros(144, bool)
for first, stop in [(0, 35), (64, 65), (96, 129)]:
    WEIGHTS[first:stop] = True


def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(STEPS, LAYOUT.length)) * rng.choice([0.01, 1, 3], size=(STEPS, 1))


def start(dtype):
    params = np.random.default_rng(9).normal(size=LAYOUT.length).astype(dtype)
    params[3] = 0  # sign(0) = 0
    return params


def update(updater, params, gradient, learning_rate, step, norm):
    """What a step does to a slice, call by call."""
    clock = np.zeros(CLOCK, np.int64)
    clock[STEP] = step
    calls = updater.prepare(np.array([learning_rate]), clock, np.array([norm]))
    for call in [*calls, *updater.update(params, gradient.copy(), 0, slice(0, len(params)))]:
        call()


def trained(optimizer, dtype, cuts=(0, LAYOUT.length)):
    """Parameters after some steps, updated slice by slice as ranks do."""
    params = start(dtype)
    slices = [slice(first, stop) for first, stop in itertools.pairwise(cuts)]
    updaters = [Updater(optimizer, LAYOUT, [owned], dtype) for owned in slices]
    for step, gradient in enumerate(gradients()):
        norm = float(np.linalg.norm(gradient))
        for owned, updater in zip(slices, updaters, strict=True):
            rate = optimizer.learning_rate / (1 + step)
            update(updater, params[owned], gradient[owned].astype(dtype), rate, step, norm)
    return params


def by_the_book(o):
    """The same training from the equations alone, in float64."""
    w, m, v, s = start(np.float64), 0.0, 0.0, 0.0
    for t, g in enumerate(gradients(), start=1):
        rate = o.learning_rate / t
        if o.clip_norm is not None:
            g = g * min(1, o.clip_norm / np.sqrt((g**2).sum()))
        if o.clip_value is not None:
            g = np.clip(g, -o.clip_value, o.clip_value)
        g = g + WEIGHTS * (o.l1 * np.sign(w) + o.l2 * w)
        w = w * (1 - rate * o.weight_decay * WEIGHTS)
        if isinstance(o, SGD):
            w = w - rate * g
        elif isinstance(o, Momentum):
            v = o.momentum * v + g
            w = w - rate * v
        elif isinstance(o, Nesterov):
            v = o.momentum * v + g
            w = w - rate * (g + o.momentum * v)
        elif isinstance(o, AdaGrad):
            s = s + g**2
            w = w - rate * g / (np.sqrt(s) + o.epsilon)
        elif isinstance(o, RMSprop):
            s = o.decay * s + (1 - o.decay) * g**2
            w = w - rate * g / (np.sqrt(s) + o.epsilon)
        else:
            m = o.beta1 * m + (1 - o.beta1) * g
            v = o.beta2 * v + (1 - o.beta2) * g**2
            w = w - rate * (m / (1 - o.beta1**t)) / (np.sqrt(v / (1 - o.beta2**t)) + o.epsilon)
    return w


@pytest.mark.parametrize("regularisers", REGULARISERS, ids=lambda given: "+".join(given) or "none")
@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_training_follows_the_equations(kind, regularisers):
    optimizer = kind(learning_rate=0.05, **regularisers)
    np.testing.assert_allclose(trained(optimizer, np.float64), by_the_book(optimizer), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(trained(optimizer, np.float32), by_the_book(optimizer), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_slices_of_any_size_give_the_bits_of_the_whole(kind, dtype):
    optimizer = kind(l1=0.01, l2=0.02, weight_decay=0.03, clip_norm=5.0, clip_value=0.7)
    whole = trained(optimizer, dtype)
    for cuts in [(0, 33, 144), (0, 1, 64, 65, 100, 144), (0, 48, 48, 144)]:
        assert np.array_equal(trained(optimizer, dtype, cuts), whole)


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_the_gaps_between_parameters_stay_zero(kind):
    optimizer = kind(l1=0.01, l2=0.02, weight_decay=0.03)
    params, gap = np.ones(LAYOUT.length, np.float32), slice(35, 48)
    params[gap] = 0
    gradient = np.ones_like(params)
    gradient[gap] = 0
    updater = Updater(optimizer, LAYOUT, [slice(0, LAYOUT.length)], np.float32)
    for step in range(3):
        update(updater, params, gradient, 0.1, step, 12.0)
    assert (params[gap] == 0).all()
    assert (params[:35] != 1).all()


@pytest.mark.parametrize(
    ("kind", "names"),
    [(SGD, []), (Momentum, ["v"]), (Nesterov, ["v"]), (AdaGrad, ["s"]), (RMSprop, ["s"]), (Adam, ["m", "v"])],
)
def test_the_slots_are_named_zero_at_the_start_and_as_long_as_the_slice(kind, names):
    slots = Updater(kind(), LAYOUT, [slice(10, 27)], np.float32).slots()
    assert list(slots) == names
    for slot in slots.values():
        assert slot.dtype == np.float32
        assert slot.tolist() == [0.0] * 17


def test_training_goes_on_from_saved_slots_with_the_same_bits():
    optimizer, whole = AdamW(), slice(0, LAYOUT.length)
    params, updater = start(np.float32), Updater(optimizer, LAYOUT, [whole], np.float32)
    for step, gradient in enumerate(gradients()):
        if step == 5:
            saved = {name: slot.copy() for name, slot in updater.slots().items()}
            updater = Updater(optimizer, LAYOUT, [whole], np.float32)
            for name, slot in updater.slots().items():
                slot[:] = saved[name]
        update(updater, params, gradient.astype(np.float32), optimizer.learning_rate / (1 + step), step, 1.0)
    assert np.array_equal(params, trained(optimizer, np.float32))


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_a_gradient_that_is_nan_is_not_hidden_by_clipping(kind):
    params, gradient = np.ones(LAYOUT.length, np.float32), np.ones(LAYOUT.length, np.float32)
    gradient[[2, 50]] = np.nan
    updater = Updater(kind(clip_value=1.0), LAYOUT, [slice(0, LAYOUT.length)], np.float32)
    update(updater, params, gradient, 0.1, 0, 1.0)
    assert np.flatnonzero(np.isnan(params)).tolist() == [2, 50]


def test_a_slice_without_elements_is_left_alone():
    updater = Updater(Adam(), LAYOUT, [slice(144, 144)], np.float32)
    nothing = np.zeros(0, np.float32)
    update(updater, nothing, nothing, 0.1, 0, 1.0)


def test_segments_tell_weights_from_biases_and_gaps():
    bounds, is_weight = segments_of(LAYOUT, slice(30, 128))
    assert bounds.tolist() == [0, 5, 34, 35, 66, 98]
    assert is_weight.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("clip_norm", "norm", "scale"), [(np.inf, 9.0, 1.0), (2.0, 2.0, 1.0), (2.0, 0.0, 1.0), (2.0, 8.0, 0.25)]
)
def test_the_norm_is_clipped_only_above_the_limit(clip_norm, norm, scale):
    assert _clip_scale(norm, clip_norm) == scale


@pytest.mark.parametrize("base", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("exponent", [0, 1, 2, 7, 1000, 10**7])
def test_integer_powers_are_powers(base, exponent):
    assert math.isclose(
        _integer_power(base, exponent), base**exponent, rel_tol=1e-15 * max(exponent, 1), abs_tol=1e-300
    )
