"""What training counts and reports: samples, epochs, metrics, the best model; and 20 steps against NumPy alone."""

from dataclasses import replace

import numpy as np
import pytest

from distprop.comm.shards import owned_shards
from distprop.config.layers import Dense, Standardise
from distprop.config.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from distprop.config.optimizers import SGD, Adam, Momentum
from distprop.config.run import EarlyStopping, Network, Training
from distprop.data.dataset import Dataset
from distprop.kernels.step import CLOCK, EPOCH, FIRST
from distprop.training.minibatch import Minibatches
from distprop.training.targets import Target


def minibatches(data, encoding, batch_size, run=(0, 4), shards=4, shuffle=True):
    target = Target(SoftmaxCrossEntropy(), encoding.target, 3)
    return Minibatches(data, target, batch_size, run, shards, np.float64, 7, shuffle, None)


def choose(found, epoch, number):
    """Make the calls that find the samples of a minibatch; how many they are."""
    first = number * found.batch_size
    samples = min(found.batch_size, len(found.data) - first)
    clock = np.zeros(CLOCK, np.int64)
    clock[[EPOCH, FIRST]] = epoch, first
    for call in found.choose(samples, clock):
        call()
    return samples


def order(found, epoch):
    """The samples of an epoch, minibatch by minibatch."""
    return [found.indices[: choose(found, epoch, number)].copy() for number in range(len(found))]


@pytest.mark.parametrize("batch_size", [1, 7, 16, 61, 100])
def test_the_minibatches_of_an_epoch_visit_every_sample_once(lab, batch_size):
    found = minibatches(*lab.training, batch_size)
    epochs = [np.concatenate(order(found, epoch)) for epoch in range(3)]
    assert all(sorted(epoch) == list(range(61)) for epoch in epochs)
    assert len({epoch.tobytes() for epoch in epochs}) == 3


def test_without_shuffling_samples_come_in_the_order_of_the_file(lab):
    found = minibatches(*lab.training, 16, shuffle=False)
    assert np.concatenate(order(found, 3)).tolist() == list(range(61))


@pytest.mark.parametrize("ranks", [1, 3, 4])
def test_the_rows_of_all_ranks_are_the_minibatch(lab, ranks):
    data, encoding = lab.training
    for number in range(4):
        rows, labels = [], []
        for rank in range(ranks):
            found = minibatches(data, encoding, 16, owned_shards(rank, ranks, 4))
            samples = choose(found, 1, number)
            part = found.rows(samples)
            count = part.stop - part.start
            features = np.full((count, 5), np.nan)
            for call in found.gather(part, features):
                call()
            indices = found.indices[part]
            assert np.array_equal(features, data.features[indices])
            assert np.array_equal(found.weights[part], data.weights[indices])
            rows, labels = [*rows, *indices], [*labels, *found.labels[:count]]
        whole = minibatches(data, encoding, 16)
        samples = choose(whole, 1, number)
        assert rows == whole.indices[:samples].tolist() and labels == data.labels[rows].tolist()
        assert whole.total_weight[0] == pytest.approx(data.weights[rows].sum(dtype=np.float64))
        assert whole.scale[0] == pytest.approx(1 / whole.total_weight[0])


def test_without_weights_a_minibatch_weighs_what_it_has_of_samples(lab):
    found = minibatches(*lab.data(61, weighted=False), 16)
    for number in (0, 3, 1):
        samples = choose(found, 0, number)
        assert samples == (13 if number == 3 else 16)
        assert found.total_weight[0] == samples and found.scale[0] == 1 / samples


def test_samples_chosen_by_rows_are_found_through_them(lab):
    data, encoding = lab.training
    part = replace(data, rows=np.array([3, 8, 9, 30, 60]))
    assert sorted(np.concatenate(order(minibatches(part, encoding, 2), 0))) == [3, 8, 9, 30, 60]


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (4, 1), (7, 2), (9, 3)])
def test_steps_instead_of_epochs_end_in_the_middle_of_one(lab, steps, epochs):
    config = lab.config_of(lab.network, training=Training(steps=steps, batch_size=16, shards=4))
    for rank in lab.train(2, config, lab.training):
        assert rank.outcome.progress.step == steps and rank.outcome.progress.finished
        assert len(rank.outcome.history) == len(rank.seen.epochs) == epochs


def test_a_batch_larger_than_the_data_set_is_the_whole_data_set(lab):
    plain = [
        lab.train(ranks, lab.config_of(lab.network, training=Training(epochs=3, batch_size=size, shards=8)),
                  lab.training)[0].plain
        for size in (61, 1000) for ranks in (1, 5)
    ]  # fmt: skip
    assert len(set(plain)) == 1


def test_fewer_samples_than_shards_leave_shards_empty(lab):
    data = lab.data(3)
    config = lab.config_of(lab.network, training=Training(epochs=3, batch_size=8, shards=8))
    assert len({rank.plain for ranks in (1, 3, 8) for rank in lab.train(ranks, config, data)}) == 1


def test_a_minibatch_whose_samples_weigh_nothing_changes_nothing(lab):
    data, encoding = lab.training
    weightless = replace(data, weights=np.where(np.arange(61) < 16, 0, data.weights).astype(np.float32))
    network = Network([Dense(3, initializer=0.1)], SoftmaxCrossEntropy())
    training = Training(steps=1, batch_size=16, shards=4, shuffle=False)
    config = lab.config_of(network, optimizer=SGD(0.1), training=training)
    rank = lab.train(2, config, (weightless, encoding))[0]
    assert np.array_equal(rank.outcome.model.named()["dense_1.weight"], np.full((5, 3), 0.1, np.float32))
    assert rank.seen.steps[0][2:5] == (0.0, 0.0, 0.0)


def test_class_weights_are_weights_of_the_samples(lab):
    data, encoding = lab.data(61, "float64", weighted=False)
    layers, factors = [Dense(7, "tanh"), Dense(3)], np.array([1.0, 3.0, 0.25])
    weighted = replace(data, weights=factors[data.labels])
    digests = []
    for samples, weights in ((data, tuple(factors.tolist())), (weighted, None)):
        network = Network(layers, SoftmaxCrossEntropy(class_weights=weights))
        config = lab.config_of(network, training=lab.short, dtype="float64")
        digests.append(lab.train(2, config, (samples, encoding))[0].digest)
    assert digests[0] == digests[1]


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_validation_of_classes_counts_every_sample_once_with_its_weight(lab, ranks):
    data, encoding = lab.data(61, "float64")
    held_out = lab.data(700, "float64", encoding)[0]  # three blocks, the last one ragged
    network = Network([Dense(6, "tanh"), Dense(3)], SoftmaxCrossEntropy(class_weights=(1.0, 2.0, 0.5)))
    config = lab.config_of(network, True, training=replace(lab.short, epochs=1), dtype="float64")
    for rank in lab.train(ranks, config, (data, encoding), held_out):
        z = rank.outcome.model.raw_outputs(held_out.features)
        labels, weights, every = held_out.labels, held_out.weights, np.arange(700)
        logarithms = z - z.max(1, keepdims=True)
        logarithms -= np.log(np.exp(logarithms).sum(1, keepdims=True))
        in_top = (z > z[every, labels][:, None]).sum(1) < 2
        class_weights = weights * np.array([1.0, 2.0, 0.5])[labels]
        numbers = rank.outcome.history[0]
        assert numbers["validation_loss"] == pytest.approx(
            np.average(-logarithms[every, labels], weights=class_weights), rel=1e-12
        )
        assert numbers["validation_accuracy"] == pytest.approx(np.average(z.argmax(1) == labels, weights=weights))
        assert numbers["validation_top_2_accuracy"] == pytest.approx(np.average(in_top, weights=weights))
        confusion = np.zeros((3, 3), int)
        np.add.at(confusion, (labels, z.argmax(1)), 1)
        assert rank.seen.confusions[0].tolist() == confusion.tolist()


@pytest.mark.parametrize("ranks", [1, 3])
def test_validation_of_values_counts_every_sample_once_with_its_weight(lab, ranks):
    rng = np.random.default_rng(2)
    x, y, weights = rng.normal(size=(300, 4)), 1e4 + rng.normal(size=(300, 2)), rng.uniform(0, 2, 300)
    data, encoding = Dataset.from_arrays(x[:50], y[:50], weights[:50], dtype="float64")
    held_out = Dataset.from_arrays(x, y, weights, dtype="float64", encoding=encoding)[0]
    network = Network([Dense(2, bias_initializer=1e4)], MeanSquaredError())
    config = lab.config_of(network, True, training=replace(lab.short, epochs=1), dtype="float64")
    for rank in lab.train(ranks, config, (data, encoding), held_out):
        error = rank.outcome.model.raw_outputs(x) - y
        spread = (weights[:, None] * (y - np.average(y, axis=0, weights=weights)) ** 2).sum()
        numbers = rank.outcome.history[0]
        assert numbers["validation_mae"] == pytest.approx(np.average(np.abs(error).mean(1), weights=weights))
        assert numbers["validation_mse"] == pytest.approx(np.average((error**2).mean(1), weights=weights))
        assert numbers["validation_loss"] == pytest.approx(numbers["validation_mse"])
        assert numbers["validation_r2"] == pytest.approx(1 - (weights[:, None] * error**2).sum() / spread, rel=1e-9)


def test_one_logit_tells_two_classes_apart(lab):
    x = np.random.default_rng(3).normal(size=(90, 2))
    data = Dataset.from_arrays(x, (x[:, 0] > 0).astype(int))
    network = Network([Dense(1)], BinaryCrossEntropy())
    config = replace(lab.config_of(network, optimizer=SGD(1.0), training=replace(lab.short, epochs=9)))
    ranks = lab.train(2, config, data, data[0])
    assert ranks[0].seen.epochs[-1]["validation_accuracy"] > 0.9
    predicted = ranks[0].outcome.model.raw_outputs(data[0].features)[:, 0] > 0
    expected = np.histogram2d(data[0].labels, predicted, bins=2)[0]
    assert ranks[0].seen.confusions[-1].tolist() == expected.tolist()


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_early_where_nothing_improves(lab, patience):
    stopping = EarlyStopping(patience=patience)
    config = lab.config_of(lab.network, training=replace(lab.short, epochs=20, early_stopping=stopping))
    config = replace(config, optimizer=SGD(1e-30))
    config = replace(config, training=replace(config.training, monitor="validation_loss"))
    for rank in lab.train(2, config, lab.training, lab.validation):
        assert len(rank.seen.epochs) == 1 + patience and rank.outcome.progress.best_epoch == 1


def test_the_model_is_that_of_the_best_epoch(lab):
    rng = np.random.default_rng(8)
    data, encoding = Dataset.from_arrays(rng.normal(size=(30, 5)), np.arange(30) % 3)
    held_out = Dataset.from_arrays(rng.normal(size=(40, 5)), np.arange(40) % 3, encoding=encoding)[0]
    network = Network([Dense(40, "tanh"), Dense(3)], SoftmaxCrossEntropy())
    config = lab.config_of(network, True, optimizer=Adam(0.01), training=replace(lab.short, epochs=12))
    rank = lab.train(2, config, (data, encoding), held_out)[0]
    losses = [numbers["validation_loss"] for numbers in rank.outcome.history]
    best = int(np.argmin(losses))
    assert best < 11 and rank.outcome.progress.best_epoch == best + 1
    until = lab.config_of(network, True, optimizer=Adam(0.01), training=replace(lab.short, epochs=best + 1))
    assert rank.digest == lab.train(1, until, (data, encoding), held_out)[0].digest


def updated(optimizer, params, grads, state, t):
    """The textbook's update, on dictionaries."""
    for name, g in grads.items():
        w = params[name]
        if isinstance(optimizer, Adam):
            m = state["m", name] = 0.9 * state.get(("m", name), 0) + 0.1 * g
            v = state["v", name] = 0.999 * state.get(("v", name), 0) + 0.001 * g * g
            w -= optimizer.learning_rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        elif isinstance(optimizer, Momentum):
            v = state["v", name] = 0.9 * state.get(("v", name), 0) + g
            w -= optimizer.learning_rate * v
        else:
            w -= optimizer.learning_rate * g


@pytest.mark.parametrize("optimizer", [SGD(0.5), Momentum(0.1), Adam(0.02)], ids=lambda optimizer: optimizer.type)
def test_twenty_steps_are_those_of_a_training_in_numpy(lab, oracle, optimizer):
    data, encoding = lab.data(61, "float64")
    network = Network([Standardise(), Dense(9, "tanh"), Dense(8, "gelu"), Dense(3)], SoftmaxCrossEntropy(0.1))
    training = Training(steps=20, batch_size=16, shards=4)
    config = lab.config_of(network, optimizer=optimizer, training=training, dtype="float64", seed=7)
    ranks = lab.train(3, config, (data, encoding))
    start = lab.train(
        1, replace(config, optimizer=SGD(1e-300), training=replace(config.training, steps=1)), (data, encoding)
    )
    layers = [node.layer for node in ranks[0].outcome.model.graph.nodes]
    params = {name: array.copy() for name, array in start[0].outcome.model.named().items()}
    state, found = {}, minibatches(data, encoding, 16)
    fixed = {"standardise_1.mean": data.features.mean(0), "standardise_1.deviation": data.features.std(0)}
    for step in range(20):
        samples = found.indices[: choose(found, step // 4, step % 4)]
        values = oracle.forward(layers, params, data.features[samples], fixed)
        loss, dz = oracle.softmax_cross_entropy(
            values["dense_3"], data.labels[samples], data.weights[samples], smoothing=0.1
        )
        grads = oracle.backward(layers, params, values, dz, fixed)
        _, _, weighted_loss, weight, norm, _ = ranks[0].seen.steps[step]
        assert weighted_loss / weight == pytest.approx(loss, rel=1e-10)
        assert norm == pytest.approx(np.sqrt(sum((g * g).sum() for g in grads.values())), rel=1e-9)
        updated(optimizer, params, grads, state, step + 1)
    for rank in ranks:
        for name, array in rank.outcome.model.named().items():
            np.testing.assert_allclose(array, params[name], atol=1e-10, rtol=0)


def test_each_step_draws_another_dropout_mask(lab):
    training = Training(epochs=4, batch_size=61, shards=4, shuffle=False)
    config = lab.config_of(lab.network, optimizer=SGD(1e-30), training=training)
    losses = [step[2] for step in lab.train(2, config, lab.training)[0].seen.steps]
    assert len(set(losses)) == 4  # the same samples and the same weights each time
