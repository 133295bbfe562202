"""The Python interface as strangers use it: arrays of every kind, threads, Ctrl-C, copies of a model."""

import copy
import gc
import pickle
import signal
import threading

import numpy as np
import pytest

import distprop as dp
from distprop.comm.threads import run_ranks
from distprop.errors import CheckpointError, DataError, DisagreementError, UsageError
from distprop.run_directory import RunDirectory
from distprop.training.loop import Training

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True)
def no_mpi_around(monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)


def train(x=X, y=Y, loss=None, outputs=2, kind=None, **options):
    network = dp.Network([dp.Dense(4, "tanh"), dp.Dense(outputs)], loss=loss or dp.SoftmaxCrossEntropy())
    options = {"epochs": 2, "batch_size": 16, "verbose": False} | options
    return dp.train(network, dp.Dataset(x, y, kind=kind), **options).model


def as_objects(values):
    """As a table with columns of several types gives its columns."""
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


def test_columns_of_python_objects_are_what_they_hold():
    assert train(as_objects(X), as_objects(Y)).digest() == train().digest()
    names = np.array(["no", "yes"])[Y]
    assert train(X, as_objects(names)).classes.tolist() == ["no", "yes"]


@pytest.mark.parametrize(("x", "y"), [(X, ["a", None] * 20), (X, ["a", np.nan] * 20), ([[1.0], [None]] * 20, Y)])
def test_objects_of_several_types_are_refused(x, y):
    with pytest.raises(DataError, match="type object"):
        train(as_objects(x), as_objects(y))


def test_what_lies_under_a_mask_is_not_taken():
    with pytest.raises(DataError, match="x: some elements are masked"):
        train(np.ma.masked_greater(X, 1.0))


@pytest.mark.parametrize("labels", [["²", "³"], ["--5", "5"], ["9" * 30, "8" * 30]])
def test_labels_that_only_look_like_numbers_are_text(labels):
    y = np.array(labels)[Y]
    assert set(train(X, y).predict(X)) <= set(labels)


def test_whole_numbers_are_values_where_the_loss_takes_values():
    model = train(X, Y * 10, dp.MeanSquaredError(), 1)
    assert model.predict(X).dtype == np.float32 and len(model.classes) == 0
    assert {"r2", "loss"} <= model.evaluate(dp.Dataset(X, Y * 10)).keys()


def test_labels_in_floating_point_are_classes_where_the_loss_takes_classes():
    assert train(X, Y.astype(float)).classes.tolist() == [0, 1]
    assert train(X, Y.astype(float), dp.BinaryCrossEntropy(), 1).classes.tolist() == [0, 1]
    assert len(train(X, Y * 0.9, dp.BinaryCrossEntropy(), 1).classes) == 0


@pytest.mark.parametrize("data", [X, (X, Y), "train.csv", None])
def test_data_that_are_no_data_set_are_one_clear_error(data):
    network = dp.Network([dp.Dense(2)], loss=dp.SoftmaxCrossEntropy())
    with pytest.raises(UsageError, match=r"data: wrong type .* dp.Dataset"):
        dp.train(network, data)
    if data is not None:
        with pytest.raises(UsageError, match="validation: wrong type"):
            dp.train(network, dp.Dataset(X, Y), data)


def test_numbers_of_numpy_are_numbers():
    loss = dp.SoftmaxCrossEntropy(class_weights=np.array([1.0, 2.0]))
    numbers = {"epochs": np.int64(2), "batch_size": np.int32(16), "seed": np.uint8(3), "shuffle": np.False_}
    found = train(loss=loss, optimizer=dp.Adam(np.float32(0.5)), **numbers)
    loss = dp.SoftmaxCrossEntropy(class_weights=[1.0, 2.0])
    assert found.digest() == train(loss=loss, optimizer=dp.Adam(0.5), seed=3, shuffle=False).digest()


@pytest.mark.parametrize("path", ["/no/such/folder/model", "."])
def test_a_model_that_can_not_be_saved_is_one_clear_error(path):
    with pytest.raises(CheckpointError, match=rf"^{path}: can't be written: [^\[]*$"):
        train().save(path)


def test_no_rows_have_no_predictions():
    model = train()
    assert model.predict(X[:0]).shape == (0,) and model.predict_proba(X[:0]).shape == (0, 2)
    with pytest.raises(DataError, match="is empty"):
        train(X[:0], Y[:0])
    with pytest.raises(DataError, match="is empty"):
        model.evaluate(dp.Dataset(X[:0], Y[:0]))


def test_a_minibatch_larger_than_the_data_takes_no_more_memory_than_the_data():
    assert train(batch_size=10**12, shards=2).digest() == train(batch_size=40, shards=2).digest()


def test_a_model_can_be_copied_and_pickled():
    model = train()
    assert copy.deepcopy(model).digest() == pickle.loads(pickle.dumps(model)).digest() == model.digest()


def test_training_in_a_thread_gives_the_same_model(tmp_path):
    models = []
    thread = threading.Thread(target=lambda: models.append(train(run=tmp_path / "run")))
    thread.start()
    thread.join()
    assert models[0].digest() == train().digest()


def test_a_run_that_is_being_trained_is_not_trained_by_another(tmp_path):
    train(run=tmp_path / "run")
    with RunDirectory(tmp_path / "run").held(), pytest.raises(UsageError, match="being trained by another process"):
        train(run=tmp_path / "run")


@pytest.fixture
def interrupted_in_a_callback(monkeypatch):
    """Ctrl-C as training begins, while the garbage collector calls a function: an exception would be lost there."""

    def interrupt(phase, info):
        gc.callbacks.remove(interrupt)
        signal.raise_signal(signal.SIGINT)

    run_to_the_end = Training.run

    def run(training):
        gc.callbacks.append(interrupt)
        gc.collect()
        return run_to_the_end(training)

    monkeypatch.setattr(Training, "run", run)


@pytest.mark.parametrize("in_run", [False, True])
def test_ctrl_c_ends_training_at_once_and_leaves_no_handler(tmp_path, interrupted_in_a_callback, in_run):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with pytest.raises((KeyboardInterrupt, dp.DistpropError)) as caught:
        train(epochs=3000, run=tmp_path / "run" if in_run else None)
    assert caught.type.__name__ == ("Interrupted" if in_run else "KeyboardInterrupt")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_program_that_handles_ctrl_c_itself_keeps_its_handler(interrupted_in_a_callback):
    came = []
    before = signal.signal(signal.SIGINT, lambda *given: came.append(given))
    try:
        assert train().digest()
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(came) == 1


def test_targets_and_features_out_of_range_are_told_with_their_place():
    x, y = np.ones((8, 2)), np.linspace(0, 1, 8)
    network = dp.Network([dp.Dense(1)], loss=dp.BinaryCrossEntropy())
    for wrong in (-0.25, 1.5):
        y[5] = wrong
        with pytest.raises(
            DataError, match=rf"y, row 5: binary_cross_entropy takes values from 0 to 1 \(got \[{wrong}\]\)"
        ):
            dp.train(network, dp.Dataset(x, y, kind="values"), epochs=1, verbose=False)
    x[:, 1] = np.linspace(0, 1e-40, 8)  # a deviation of which the inverse is no float32
    network = dp.Network([dp.Standardise(), dp.Dense(1)], loss=dp.MeanSquaredError())
    with pytest.raises(
        DataError, match=r"standardise_1: 1 / deviation = 1 / .*e-41 of feature 2 is too large for float32"
    ):
        dp.train(network, dp.Dataset(x, y), epochs=1, verbose=False)


def test_ranks_that_were_given_other_arrays_end_with_one_error():
    def work(comm):
        x = np.random.default_rng(comm.rank // 2).normal(size=(32, 2))  # a seed that depends on the rank
        network = dp.Network([dp.Dense(1)], loss=dp.MeanSquaredError())
        with pytest.raises(DisagreementError) as caught:
            dp.train(network, dp.Dataset(x, x[:, 0]), epochs=1, batch_size=32, verbose=False, comm=comm)
        return str(caught.value)

    (text,) = set(run_ranks(3, work))
    assert text.startswith("the ranks aren't alike: rank 2 has data ")
