"""The Python interface: train, predict, evaluate, save and load, alone and under mpirun."""

import importlib
import pkgutil
import sys

import numpy as np
import pytest

import distprop as dp
from distprop.comm.threads import run_ranks
from distprop.errors import CheckpointError, ConfigError, DataError, DistpropError, UsageError

MODULES = sorted(
    name for _, name, _ in pkgutil.walk_packages(dp.__path__, "distprop.") if name not in ("distprop.comm.mpi",)
)
SCRIPT = """
import numpy as np
import distprop as dp

n = np.arange(120)
x = np.stack([n % 7, n % 5, n % 11], axis=1) / 4.0
network = dp.Network([dp.Dense(20, "tanh"), dp.Dropout(0.1), dp.Dense(3)], loss=dp.SoftmaxCrossEntropy())
data = dp.Dataset(x, n // 2 % 3, weights=1.0 + n % 3)
result = dp.train(network, data, validation=dp.Dataset(x[:50], n[:50] // 2 % 3), epochs=3, batch_size=50, shards=4)
print(f"rank {result.rank} {result.model.digest()}\\n", end="", flush=True)  # in one write: ranks share the output
"""


@pytest.fixture(autouse=True)
def no_mpi_around(monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)


def blobs(rows=90, classes=("cat", "dog", "owl")):
    """Points around one centre for each class, and their labels."""
    rng, y = np.random.default_rng(2), np.arange(rows) % len(classes)
    return rng.normal(scale=0.3, size=(rows, 2)) + np.eye(3)[y][:, :2] * 2, np.array(classes)[y]


def classifier(loss=None, outputs=3):
    return dp.Network([dp.Standardise(), dp.Dense(8, "tanh"), dp.Dense(outputs)], loss=loss or dp.SoftmaxCrossEntropy())


def trained(network=None, data=None, **options):
    options = {"epochs": 15, "batch_size": 16, "optimizer": dp.Adam(0.03), "verbose": False} | options
    return dp.train(network or classifier(), data or dp.Dataset(*blobs()), **options)


def test_labels_come_back_as_they_were_given():
    x, y = blobs()
    model = trained().model
    assert model.classes.tolist() == ["cat", "dog", "owl"]
    assert (model.predict(x) == y).mean() > 0.9
    x, y = blobs(classes=(7, 10, 9))
    model = trained(data=dp.Dataset(x, y)).model
    assert model.classes.tolist() == [7, 9, 10] and (model.predict(x) == y).mean() > 0.9
    x, y = blobs(classes=(False, True))
    predicted = trained(classifier(outputs=2), dp.Dataset(x, y)).model.predict(x)
    assert predicted.dtype == bool and (predicted == y).mean() > 0.9


def test_with_no_interval_checkpoints_are_written_at_the_ends_of_epochs(tmp_path):
    trained(epochs=3, run=tmp_path / "run", checkpoint=dp.Checkpoint(every_seconds=0, keep=10))
    written = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    # 90 samples make 6 minibatches
    assert written == [f"step-{6 * epoch:010d}-epoch-{epoch:06d}" for epoch in (1, 2, 3)]


def test_probabilities_are_those_of_the_classes():
    x, _ = blobs()
    model = trained().model
    p = model.predict_proba(x)
    assert p.shape == (90, 3) and np.allclose(p.sum(axis=1), 1, atol=1e-5)
    assert (model.classes[p.argmax(axis=1)] == model.predict(x)).all()


@pytest.mark.parametrize("outputs", [1, 2])
def test_two_classes_with_one_logit_or_two(outputs):
    x, y = blobs(classes=("no", "yes"))
    model = trained(classifier(dp.BinaryCrossEntropy(), outputs), dp.Dataset(x, y), epochs=30).model
    assert model.predict_proba(x).shape == (90, 2) and (model.predict(x) == y).mean() > 0.9


@pytest.mark.parametrize("outputs", [1, 2])
def test_values_have_the_shape_of_the_targets(outputs):
    x, _ = blobs()
    y = np.stack([x[:, 0], x[:, 1]], axis=1)[:, :outputs]
    network = dp.Network([dp.Dense(outputs)], loss=dp.MeanSquaredError())
    model = trained(network, dp.Dataset(x, y[:, 0] if outputs == 1 else y), epochs=60).model
    predicted = model.predict(x)
    assert predicted.shape == ((90,) if outputs == 1 else (90, 2)) and len(model.classes) == 0
    np.testing.assert_allclose(predicted.reshape(y.shape), y, atol=0.1)
    with pytest.raises(UsageError, match="predict_proba needs a model for classes"):
        model.predict_proba(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_model_is_loaded_bit_for_bit(tmp_path, dtype):
    x, y = blobs()
    model = trained(dtype=dtype, epochs=2).model
    model.save(tmp_path / "model.safetensors")
    loaded = dp.load(tmp_path / "model.safetensors")
    assert loaded.digest() == model.digest() and loaded.params.keys() == model.params.keys()
    assert loaded.predict_proba(x).tobytes() == model.predict_proba(x).tobytes()
    assert loaded.predict_proba(x).dtype == dtype
    assert loaded.evaluate(dp.Dataset(x, y)) == model.evaluate(dp.Dataset(x, y))


def test_evaluation_counts_with_weights():
    x, y = blobs()
    model, weights = trained(epochs=1).model, np.linspace(0, 3, 90)
    numbers = model.evaluate(dp.Dataset(x, y, weights))
    assert numbers["rows"] == 90
    assert numbers["accuracy"] == pytest.approx(np.average(model.predict(x) == y, weights=weights), rel=1e-6)
    assert np.sum(numbers["confusion"]) == 90


def test_the_history_has_a_record_of_each_epoch():
    x, y = blobs()
    result = trained(validation=dp.Dataset(x[:20], y[:20]), epochs=4)
    assert len(result.history) == 4 and result.rank == 0
    assert {"loss", "validation_loss", "validation_accuracy", "learning_rate"} <= result.history[0].keys()


def test_a_line_an_epoch_unless_told_otherwise(capsys):
    trained(epochs=3, verbose=True)
    assert len(capsys.readouterr().out.splitlines()) == 3
    trained(epochs=3)
    assert capsys.readouterr().out == ""


def test_any_number_of_ranks_gives_the_same_model():
    digests = [run_ranks(n, lambda comm: trained(epochs=2, shards=8, comm=comm).model.digest()) for n in (1, 3, 8)]
    assert len({digest for of_run in digests for digest in of_run}) == 1


def test_the_model_of_a_run_does_not_change_when_another_one_is_trained():
    first = trained(epochs=1).model
    digest = first.digest()
    trained(epochs=2)
    assert first.digest() == digest


def test_a_run_folder_holds_the_model_and_is_not_trained_twice(tmp_path):
    result = trained(epochs=3, run=tmp_path / "run")
    assert dp.load(tmp_path / "run").digest() == result.model.digest() == trained(epochs=3).model.digest()
    again = trained(epochs=3, run=tmp_path / "run")
    assert again.model.digest() == result.model.digest() and again.history == []
    with pytest.raises(CheckpointError, match="made with another configuration; bring that back, or start"):
        trained(epochs=4, run=tmp_path / "run")
    with pytest.raises(CheckpointError, match="made with other data; bring that back, or start"):
        trained(epochs=3, run=tmp_path / "run", data=dp.Dataset(blobs()[0] + 1, blobs()[1]))


def test_training_from_files(tmp_path):
    x, y = blobs()
    lines = [f"{a!r},{b!r},{label}" for (a, b), label in zip(x.astype(np.float32).tolist(), y, strict=True)]
    (tmp_path / "train.csv").write_text("\n".join(["a,b,kind", *lines]) + "\n")
    columns = dp.Columns(target="kind")
    files = dp.Data(train=str(tmp_path / "train.csv"), columns=columns)
    assert trained(data=files, epochs=2).model.digest() == trained(epochs=2).model.digest()
    held_out = dp.Data(train=str(tmp_path / "train.csv"), columns=columns, validation_fraction=0.2)
    assert "validation_loss" in trained(data=held_out, epochs=2).history[-1]


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ConfigError, "set units = 3", {"network": classifier(outputs=4)}),
        (ConfigError, "set units = 1", {"network": classifier(dp.MeanSquaredError(), 2),
                                       "data": dp.Dataset(np.ones((9, 2)), np.ones(9))}),
        (ConfigError, 'got "values", expected "classes"',
         {"data": dp.Dataset(np.ones((9, 2)), np.ones(9), kind="values")}),
        (ConfigError, "epochs", {"epochs": 0}),
        (ConfigError, "more shards than samples", {"shards": 17}),
        (DataError, "y has 3 rows, but x has 4", {"data": dp.Dataset(np.ones((4, 2)), np.ones(3))}),
        (DataError, "row 1: NaN", {"data": dp.Dataset([[1.0], [np.nan]], [0, 1])}),
        (DataError, r"a sample has shape \(3,\)", {"validation": dp.Dataset(np.ones((4, 3)), ["cat"] * 4)}),
        (DataError, '"cow" was not in the training data', {"validation": dp.Dataset(np.ones((1, 2)), ["cow"])}),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(error, message, options):
    with pytest.raises(error, match=message) as caught:
        trained(**options)
    assert isinstance(caught.value, DistpropError) and "\n" not in str(caught.value)


def test_features_of_another_shape_can_not_be_predicted():
    with pytest.raises(DataError, match=r"features of shape \(5, 3\) given, but the model takes \(rows, 2\)"):
        trained(epochs=1).model.predict(np.ones((5, 3)))


def test_what_is_no_model_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_text("x")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: can't be read"):
        dp.load(tmp_path / "x.safetensors")


def test_a_script_under_mpirun_gives_the_model_of_one_rank(run_command, mpirun, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    alone = run_command([sys.executable, "script.py"])
    assert alone.returncode == 0, alone.stderr
    *epochs, last = alone.stdout.splitlines()
    both = run_command([*mpirun(2), sys.executable, "script.py"])
    assert both.returncode == 0, both.stderr
    lines, digest = both.stdout.splitlines(), last.split()[-1]
    assert [line for line in lines if line.startswith("epoch")] == epochs and len(epochs) == 3
    assert sorted(line for line in lines if line.startswith("rank")) == [f"rank 0 {digest}", f"rank 1 {digest}"]


def test_a_script_whose_one_rank_fails_ends_with_its_traceback(run_command, mpirun, tmp_path):
    between = "assert result.rank != 1, 'the cat sat on the keyboard'\n"
    (tmp_path / "script.py").write_text(SCRIPT + between + SCRIPT)
    done = run_command([*mpirun(2), sys.executable, "script.py"])
    assert done.returncode != 0 and done.stderr.count("AssertionError: the cat") == 1


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    import doctest

    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
