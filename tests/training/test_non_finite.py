"""What isn't finite, on any one rank in any step: all ranks end alike, told which layer, which samples, which rank."""

from dataclasses import replace

import numpy as np
import pytest

from distprop.comm import exchange
from distprop.comm.exchange import make_exchange
from distprop.config.layers import Dense
from distprop.config.losses import MeanAbsoluteError, MeanSquaredError
from distprop.config.optimizers import SGD, Adam
from distprop.config.run import Network
from distprop.data.dataset import Dataset
from distprop.errors import NonFiniteError
from distprop.kernels.step import STEP
from distprop.kernels.tape import Call
from distprop.training import loop
from distprop.training.step import Step

RANKS, STEPS = 4, 10
# Where a number is written, after which call, and what the error says of it.
PLACES = {
    "features": ("input =", "the features"),
    "hidden": ("dense_1 =", "the output of dense_1"),
    "output": ("dense_3 =", "the output of dense_3"),
    "loss": ("losses, d(output)", "the gradient at the output of dense_3"),
    "weights": ("d(dense_2.weight)", "the gradient of dense_2"),
}


@pytest.fixture(autouse=True)
def shared_out(monkeypatch):
    """The gradient, also of a small network."""
    monkeypatch.setattr(exchange, "BALANCED", 0)


def array_of(step, samples, place):
    """(N, ...) what a place stands for, on one rank."""
    left = step.leftovers(samples)
    if place == "weights":
        return step.layout.views(step.exchange.partials[0])["dense_2.weight"]
    if place == "features":
        return left.program.input
    if place == "loss":
        return left.program.output_gradient
    name = {"hidden": "dense_1", "output": "dense_3"}[place]
    return next(array for other, kind, array in left.matrices if (other, kind) == (name, "value"))


def inject(monkeypatch, rank, number, place, value):
    """Write a value in step `number` on one rank; a list that will hold the row of the sample that it is written to."""
    original, rows = Step._calls, []

    def calls(self, samples):
        made = original(self, samples)
        if self.exchange._comm.rank != rank:
            return made
        after = 1 + next(n for n, call in enumerate(made) if call.text.startswith(PLACES[place][0]))

        def write():
            if self._clock[STEP] == number:
                array_of(self, samples, place)[1, 0] = value
                rows.append(int(self.leftovers(samples).indices[1]))

        return [*made[:after], Call(write, (), "write"), *made[after:]]

    monkeypatch.setattr(Step, "_calls", calls)
    return rows


def one_error(ranks):
    """The text of the error that all ranks have raised, alike."""
    assert all(isinstance(rank.error, NonFiniteError) and rank.error.exit_code == 5 for rank in ranks)
    (text,) = {str(rank.error) for rank in ranks}
    assert "\n" not in text
    return text


@pytest.mark.parametrize("machines", [[4], [1, 3]], ids=["4", "1+3"])
@pytest.mark.parametrize("rank", range(RANKS))
def test_a_number_that_is_not_finite_on_any_rank_in_any_step_ends_all_with_its_place(lab, monkeypatch, rank, machines):
    config = lab.config_of(lab.network, optimizer=Adam(0.01), training=replace(lab.short, epochs=3, batch_size=16))
    places = list(PLACES)
    for step in range(STEPS):
        place, value = places[(step + rank) % len(places)], (np.nan, np.inf, -np.inf)[step % 3]
        with monkeypatch.context() as patch:
            if place == "weights":
                patch.setattr(loop, "make_exchange", lambda *given: make_exchange(*given[:-1]))  # partial gradients
            rows = inject(patch, rank, step, place, value)
            ranks = lab.train(RANKS, config, lab.training, machines=machines)
        text = one_error(ranks)
        assert text.startswith(f"not finite at step {step + 1} (epoch {step // 4 + 1}, minibatch {step % 4 + 1}): ")
        where = "" if place == "weights" else f" for row {rows[0]} (counted from 0)"
        assert f"; rank {rank}: {PLACES[place][1]}{where}" in text, (place, text)
        assert text.count("rank ") == 1 and all(len(one.seen.steps) == step for one in ranks)


@pytest.mark.parametrize("exchange", ["ordered", "allreduce"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_the_same_where_all_ranks_have_all_gradients_and_where_the_norm_is_known_before_the_update(
    lab, monkeypatch, exchange, clip
):
    training = replace(lab.short, exchange=exchange)
    config = lab.config_of(lab.network, optimizer=Adam(0.01, clip_norm=clip), training=training)
    rows = inject(monkeypatch, 2, 3, "hidden", np.nan)
    text = one_error(lab.train(RANKS, config, lab.training))
    assert f"; rank 2: the output of dense_1 for row {rows[0]} (counted from 0), the gradient of dense_" in text


@pytest.mark.parametrize("passes", [1, 4])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_of_the_data_that_are_not_finite_are_named_whichever_pass_and_rank_has_them(lab, passes, value):
    data, encoding = lab.training
    features = data.features.copy()
    features[[17, 40], 3] = value
    training = replace(lab.short, accumulate=passes, batch_size=61, shuffle=False)
    config = lab.config_of(lab.network, training=training)
    ranks = lab.train(2, config, (replace(data, features=features), encoding))
    text = one_error(ranks)
    assert "at step 1 " in text and text.endswith("; mend or remove these rows")
    assert "rank 0: the features for row 17 (" in text and "rank 1: the features for row 40 (" in text


def line(x, targets, rate=0.1):
    """One weight for each feature, which starts at 0, and the data for it."""
    layers = [Dense(1, bias=False, initializer="zeros")]
    return Network(layers, MeanSquaredError()), Dataset.from_arrays(x, targets), SGD(rate)


def test_an_overflow_in_a_gradient_alone_names_its_layer_and_the_sample_with_the_largest_term(lab):
    x, targets = np.ones((48, 2)), np.ones(48)
    x[29], targets[29] = 3e38, 1e6  # output 0, loss and its gradient finite; their product isn't
    network, data, optimizer = line(x, targets)
    config = lab.config_of(network, optimizer=optimizer, training=replace(lab.short, batch_size=48, shuffle=False))
    text = one_error(lab.train(3, config, data))
    assert "gradient norm inf; rank 1: the terms of the gradient of dense_1 for row 29 (counted from 0), the gr" in text


@pytest.mark.parametrize("rank", range(RANKS))
def test_a_number_that_is_not_finite_in_a_rank_s_share_of_the_gradient_names_its_layer(lab, monkeypatch, rank):
    config = lab.config_of(lab.network, optimizer=Adam(0.01), training=replace(lab.short, epochs=3, batch_size=16))
    original, layers = Step._calls, []

    def calls(self, samples):
        made = original(self, samples)
        after = 1 + max(n for n, call in enumerate(made) if call.text.startswith("d(") and call.phase == "backward")

        def write():
            if self._clock[STEP] == 2:
                name, _, view = next(self.layout.views_of(self.exchange.owned[0], self.exchange.partials[0]))
                view[-1] = np.nan
                layers.append(name.rpartition(".")[0])

        is_there = self.exchange._comm.rank == rank
        return [*made[:after], *[Call(write, (), "write")] * is_there, *made[after:]]

    monkeypatch.setattr(Step, "_calls", calls)
    text = one_error(lab.train(RANKS, config, lab.training))
    assert text.startswith("not finite at step 3 ") and text.count("rank ") == 1
    assert f"; rank {rank}: the gradient of {layers[0]}; " in text


def test_partial_gradients_that_overflow_only_when_they_are_summed_name_their_layer(lab):
    x, targets = np.ones((16, 1)), np.ones(16)
    x[[0, 15]], targets[[0, 15]] = 3e38, 0.55 * 16  # each of two ranks has a finite part, with about 3.3e38
    network, data, optimizer = line(x, targets)
    config = lab.config_of(network, optimizer=optimizer, training=replace(lab.short, batch_size=16, shuffle=False))
    text = one_error(lab.train(2, config, data, machines=[1, 1]))
    assert "rank 1: the sum of all ranks' gradients, the gradient of dense_1; " in text
    text = one_error(lab.train(2, config, data))  # the rank that has computed this part of the sum sees all its terms
    assert "rank 1: the terms of the gradient of dense_1 for rows 0 and 15 (counted from 0), the gradient of " in text


def test_a_layer_that_overflows_is_named_with_the_first_few_of_its_samples(lab):
    x = np.ones((48, 4))
    x[[3, 13, 14, 33, 35, 36, 40]] = 3e38
    network = Network([Dense(8, "relu"), Dense(1)], MeanSquaredError())
    config = lab.config_of(network, training=replace(lab.short, batch_size=48, shuffle=False))
    text = one_error(lab.train(3, config, Dataset.from_arrays(x, np.ones(48))))
    assert "rank 0: the output of dense_1 for row 3 (counted from 0)" in text
    assert "rank 1: the output of dense_1 for rows 13 and 14 (counted from 0)" in text
    assert "rank 2: the output of dense_1 for rows 33, 35 and 36 (counted from 0) and 1 more" in text


def test_a_norm_that_overflows_although_each_gradient_is_finite_says_so(lab):
    x, targets = np.full((16, 1), 1e160), np.ones(16)
    layers = [Dense(1, bias=False, initializer="zeros")]
    network, data = Network(layers, MeanAbsoluteError()), Dataset.from_arrays(x, targets, dtype="float64")
    config = replace(lab.config_of(network, training=replace(lab.short, batch_size=16)), dtype="float64")
    text = one_error(lab.train(2, config, data))
    assert "each number by itself is finite" in text
