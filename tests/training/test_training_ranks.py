"""Training on any number of ranks: one digest, one set of numbers, also cut anywhere and resumed on other ranks."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from distprop.comm import exchange, slices
from distprop.comm.serial import Serial
from distprop.comm.threads import run_ranks
from distprop.config.layers import Dense
from distprop.config.losses import MeanSquaredError
from distprop.config.optimizers import SGD, Adam, Momentum
from distprop.config.run import Network
from distprop.config.schedules import Plateau
from distprop.data.dataset import Dataset
from distprop.errors import Interrupted, NonFiniteError, UsageError
from distprop.kernels import tape
from distprop.training import loop
from distprop.training import step as training_step
from distprop.training.checkpoint import Checkpoints
from distprop.training.loop import CHECKPOINT, STOP, Silent

OPTIMIZERS = {"momentum": Momentum(0.05, clip_norm=0.5, l2=1e-3), "adam": Adam(0.01, weight_decay=0.01)}


@pytest.fixture(scope="module", params=[(name, shards) for name in OPTIMIZERS for shards in (8, 13)])
def one_rank(request, lab):
    name, shards = request.param
    training = replace(lab.short, shards=shards)
    config = lab.config_of(lab.network, validation=True, optimizer=OPTIMIZERS[name], training=training, seed=5)
    return config, lab.train(1, config, lab.training, lab.validation)[0]


@pytest.mark.parametrize(
    "machines",
    [*([ranks] for ranks in (1, 2, 3, 4, 5, 7, 8)), *([1] * ranks for ranks in (2, 3, 7)), [2, 1], [1, 3, 1], [3, 5]],
    ids=lambda machines: "+".join(map(str, machines)),
)
def test_any_number_of_ranks_and_machines_gives_the_bits_of_one(lab, one_rank, machines, monkeypatch):
    config, one = one_rank
    monkeypatch.setattr(slices, "BUCKET_BYTES", 1)
    assert [step[1] for step in one.seen.steps] == [16, 16, 16, 13] * 2
    for rank in lab.train(sum(machines), config, lab.training, lab.validation, machines=machines):
        assert rank.plain == one.plain
        assert np.isfinite(rank.outcome.model.params).all()


@pytest.mark.parametrize("machines", [[2], [3], [8], [2, 1], [3, 5]], ids=lambda machines: "+".join(map(str, machines)))
def test_parameters_that_are_stored_past_the_caches_have_the_same_bits(lab, one_rank, machines, monkeypatch):
    config, one = one_rank
    monkeypatch.setattr(slices, "BUCKET_BYTES", 1)
    monkeypatch.setattr(training_step, "LONG", 1)
    for rank in lab.train(sum(machines), config, lab.training, lab.validation, machines=machines):
        assert rank.plain == one.plain


@pytest.mark.parametrize("activations", [0, None], ids=["shared out", "partial gradients"])
@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_a_gradient_that_is_shared_out_has_the_bits_of_partial_ones(lab, one_rank, ranks, activations, monkeypatch):
    config, one = one_rank
    made = []
    monkeypatch.setattr(exchange, "BALANCED", 0)

    def make_exchange(*arguments):
        made.append(exchange.make_exchange(*arguments[:-1], activations))
        return made[-1]

    monkeypatch.setattr(loop, "make_exchange", make_exchange)
    for rank in lab.train(ranks, config, lab.training, lab.validation):
        assert rank.plain == one.plain
    assert [each.is_shared_out for each in made] == [activations == 0] * ranks


@pytest.mark.parametrize(
    ("units", "batch_size", "is_shared_out"), [(200, 16, True), (200, 512, False), (100, 16, False)]
)
def test_a_gradient_is_shared_out_where_that_is_less_to_read(lab, units, batch_size, is_shared_out, monkeypatch):
    """A layer of 200 x 200 weights: two ranks read half of 400 numbers a sample, or 40,000. 100 x 100 are too few."""
    data, encoding = lab.data(512)
    network = replace(lab.network, layers=(Dense(units, "relu"), Dense(units, "relu"), *lab.network.layers[-1:]))
    config = lab.config_of(network, training=replace(lab.short, batch_size=batch_size, epochs=1))
    made = []
    monkeypatch.setattr(loop, "make_exchange", lambda *given: made.append(exchange.make_exchange(*given)) or made[-1])
    digests = {rank.digest for ranks in (1, 2) for rank in lab.train(ranks, config, (data, encoding))}
    assert len(digests) == 1
    assert [each.is_shared_out for each in made] == [False, is_shared_out, is_shared_out]


def test_digests_tell_runs_apart(lab, one_rank):
    config, one = one_rank
    assert lab.train(1, replace(config, seed=6), lab.training, lab.validation)[0].digest != one.digest
    other = replace(config, training=replace(config.training, shards=config.training.shards + 1))
    assert lab.train(1, other, lab.training, lab.validation)[0].digest != one.digest


def test_the_allreduce_form_comes_close(lab):
    config = lab.config_of(lab.network, optimizer=SGD(0.05), training=lab.short)
    plain = replace(config, training=replace(config.training, exchange="allreduce"))
    one = lab.train(1, config, lab.training)[0].outcome.model.params
    for rank in lab.train(3, plain, lab.training):
        np.testing.assert_allclose(rank.outcome.model.params, one, atol=1e-5)


@pytest.fixture(scope="module")
def uncut(lab):
    """Eight steps with all that a checkpoint has to remember: slots, plateau, best model, numbers so far."""
    schedule = Plateau(factor=0.5, patience=1, min_delta=0.5)
    config = lab.config_of(lab.network, validation=True, optimizer=Adam(0.02), schedule=schedule, training=lab.short)
    return config, lab.train(1, config, lab.training, lab.validation)[0]


@pytest.mark.parametrize("step", range(1, 9))
def test_a_run_that_is_cut_and_resumed_on_other_ranks_is_the_same_run(lab, uncut, tmp_path, step, monkeypatch):
    monkeypatch.setattr(slices, "BUCKET_BYTES", 1)
    monkeypatch.setattr(training_step, "LONG", 1 if step % 2 else training_step.LONG)
    config, whole = uncut
    before, after = 1 + step % 4, 1 + (step + 1) % 3
    machines = [before] if before == 1 or step > 4 else [before - before // 2, before // 2]
    cut = lab.train(
        before, config, lab.training, lab.validation, wishes={step: STOP}, who=[before - 1], machines=machines
    )
    assert all(isinstance(rank.error, Interrupted) for rank in cut)
    Checkpoints(tmp_path, keep=2).save(cut[0].seen.checkpoints[-1])
    checkpoint, _ = Checkpoints(tmp_path, keep=2).load("digest")
    assert checkpoint.progress.step == step
    for rank in lab.train(after, config, lab.training, lab.validation, checkpoint=checkpoint):
        assert rank.digest == whole.digest
        assert repr(cut[0].seen.steps + rank.seen.steps) == repr(whole.seen.steps)
        assert repr(cut[0].seen.epochs + rank.seen.epochs) == repr(whole.seen.epochs)


def test_the_plateau_of_that_run_has_lowered_the_learning_rate(uncut):
    assert uncut[1].outcome.progress.plateau.factor == 0.5


def test_a_run_that_is_done_stays_as_it_is_when_resumed(lab, uncut):
    config, whole = uncut
    last = whole.seen.checkpoints[-1]
    assert last.progress.finished
    again = lab.train(2, config, lab.training, lab.validation, checkpoint=last)
    assert [rank.digest for rank in again] == [whole.digest] * 2 and again[0].seen.steps == []


@pytest.mark.parametrize("who", [(0,), (2,), (0, 1), (0, 1, 2)])  # mpirun hands a signal on to all
def test_a_wish_to_stop_is_granted_on_all_ranks_at_one_step(lab, who):
    config = lab.config_of(lab.network, training=lab.short)
    ranks = lab.train(3, config, lab.training, wishes={3: STOP}, who=who)
    for rank in ranks:
        assert isinstance(rank.error, Interrupted) and str(rank.error) == "stopped at step 3"
        assert [checkpoint.progress.step for checkpoint in rank.seen.checkpoints] == [3]
    assert len({rank.seen.checkpoints[0].params.tobytes() for rank in ranks}) == 1


def test_a_wish_for_a_checkpoint_changes_nothing_else(lab):
    config = lab.config_of(lab.network, training=lab.short)
    plain = lab.train(2, config, lab.training)
    ranks = lab.train(2, config, lab.training, wishes={2: CHECKPOINT, 5: CHECKPOINT}, who=[1])
    for rank in ranks:
        assert rank.plain == plain[0].plain
        assert [checkpoint.progress.step for checkpoint in rank.seen.checkpoints] == [2, 5, 8]


@pytest.mark.parametrize("machines", [[1], [3], [1, 2]])
def test_what_is_not_finite_stops_all_ranks_in_the_same_step_and_nothing_is_saved(lab, machines):
    x, y = np.random.default_rng(0).normal(size=(40, 3)), np.linspace(0, 1, 40)
    data = Dataset.from_arrays(x, y)
    network = Network([Dense(8), Dense(1)], MeanSquaredError())
    config = lab.config_of(network, optimizer=SGD(1e15), training=replace(lab.short, epochs=5))
    found = lab.train(sum(machines), config, data, wishes={20: CHECKPOINT}, machines=machines)
    assert all(isinstance(rank.error, NonFiniteError) for rank in found)
    assert len({rank.plain for rank in found}) == 1
    assert str(found[0].error).startswith("not finite at step ")
    for rank in found:
        assert rank.seen.checkpoints == [] and len(rank.seen.steps) < 15
        assert f"at step {len(rank.seen.steps) + 1} " in str(rank.error)


def test_more_ranks_than_shards_is_one_clear_error(lab):
    config = lab.config_of(lab.network, training=replace(lab.short, shards=2))
    with pytest.raises(UsageError, match="3 ranks, but a minibatch has only 2 shards"):
        lab.train(3, config, lab.training)


def test_a_rank_that_is_slow_to_begin_does_not_undo_what_others_have_restored(lab, uncut, monkeypatch):
    config, _ = uncut
    checkpoint = lab.train(1, config, lab.training, lab.validation, wishes={3: STOP})[0].seen.checkpoints[-1]
    fill, restored, filled, looked = loop.initialize_all, *(threading.Event() for _ in range(3))
    slow = []

    def fill_late(layout, params, seed):
        if threading.get_ident() in slow:
            restored.wait(0.3)  # the other rank restores meanwhile, if it can
        fill(layout, params, seed)
        if threading.get_ident() in slow:
            filled.set()
            looked.wait(0.3)

    def work(comm):
        slow.extend([threading.get_ident()] if comm.rank else [])
        training = loop.Training(config, comm, lab.training[0], lab.validation, lab.training[1], Silent(), "")
        training.restore(checkpoint)
        if comm.rank == 0:
            restored.set()
            filled.wait(5)
            assert training.model.params.tobytes() == checkpoint.params.tobytes()
            looked.set()

    monkeypatch.setattr(loop, "initialize_all", fill_late)
    run_ranks(2, work)


@pytest.mark.parametrize("optimizer", [Momentum(0.1), Adam(0.02, clip_norm=0.5)], ids=lambda optimizer: optimizer.type)
@pytest.mark.parametrize("machines", [[1], [2], [3], [1, 1, 1], [2, 1]])
def test_steps_as_machine_code_give_the_bits_of_their_calls_one_by_one(lab, monkeypatch, machines, optimizer):
    config = lab.config_of(lab.network, optimizer=optimizer, training=lab.short)
    monkeypatch.setattr(tape, "COMPILE_AFTER", 10**9)
    called = lab.train(1, config, lab.training)[0]
    monkeypatch.setattr(tape, "COMPILE_AFTER", 0)
    for rank in lab.train(sum(machines), config, lab.training, machines=machines):
        assert rank.plain == called.plain


def test_many_steps_in_one_run_are_the_same_steps(lab, monkeypatch):
    monkeypatch.setattr(tape, "COMPILE_AFTER", 3)
    monkeypatch.setattr(loop, "RUN_S", 1e9)
    data, encoding = lab.data(1000)
    config = lab.config_of(lab.network, optimizer=Adam(0.01), training=replace(lab.short, epochs=3, batch_size=32))
    single = lab.train(1, config, (data, encoding))[0]  # its observer asks for single steps
    runs = []

    class Counter(Silent):
        def steps_done(self, progress, result, learning_rate):
            runs.append(result.steps)

    def work(comm):
        return loop.Training(config, comm, data, None, encoding, Counter(), "digest").run()

    for outcome in run_ranks(2, work):
        assert outcome.model.digest() == single.digest and outcome.history == single.outcome.history
    assert sorted(set(runs)) == [1, 29, 31]  # two find out how long a step takes; the ragged ones are alone


@pytest.mark.parametrize("passes", [2, 3, 100])
@pytest.mark.parametrize("machines", [[1], [3], [1, 1, 1], [2, 1]])
def test_gradients_accumulated_over_passes_give_the_bits_of_one_pass(lab, one_rank, machines, passes):
    config, one = one_rank
    config = replace(config, training=replace(config.training, accumulate=passes))
    for rank in lab.train(sum(machines), config, lab.training, lab.validation, machines=machines):
        assert rank.plain == one.plain


def test_passes_need_less_memory_for_the_values_between_layers(lab):
    config = lab.config_of(lab.network, training=replace(lab.short, accumulate=4))
    data, encoding = lab.training
    training = loop.Training(config, Serial(), data, None, encoding, Silent(), "")
    assert training._step.program.input.shape[0] == 4 and "(4, 5)" in training.program
