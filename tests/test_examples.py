"""Every example runs as its first lines say, and its model is as good as they say (Fashion-MNIST: test_fashion.py)."""

import json
import re
import sys
from pathlib import Path

import pytest

from distprop.config import check

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
FASHION = Path("/usr/share/datasets/fashion-mnist")
needs_fashion = pytest.mark.skipif(
    not FASHION.exists(), reason="Debian's package dataset-fashion-mnist isn't installed"
)


@pytest.fixture(autouse=True)
def no_mpi_around(monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)


def trained(distprop, folder, name):
    """The epochs' records of the run of an example on two ranks."""
    done = distprop("train", EXAMPLES / f"{name}.toml", "-n", "2", "--run", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "epoch"]


def best(epochs):
    """The record of the epoch whose model is kept."""
    return min(epochs, key=lambda record: record["validation_loss"])


@pytest.mark.parametrize("name", ["digits", "diabetes", "residual", pytest.param("fashion", marks=needs_fashion)])
def test_every_example_is_a_right_configuration(name):
    assert check(EXAMPLES / f"{name}.toml") == []


def test_no_example_is_forgotten_here():
    assert {path.stem for path in EXAMPLES.glob("*.toml")} == {"digits", "diabetes", "residual", "fashion"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"my_training"}


@pytest.mark.parametrize("name", ["digits", "diabetes", "residual", "fashion", "my_training"])
def test_every_example_is_in_the_readme_and_every_table_that_it_reads_is_listed(name):
    (path,) = EXAMPLES.glob(f"{name}.*")
    assert f"examples/{path.name}" in (ROOT / "README.md").read_text(encoding="utf-8")
    listed = (EXAMPLES / "data" / "README.md").read_text(encoding="utf-8")
    tables = re.findall(r'"data/([\w.-]+)"', path.read_text(encoding="utf-8"))
    assert all((EXAMPLES / "data" / table).exists() and table in listed for table in tables)


def test_digits_are_read_with_97_percent_right(distprop, tmp_path):
    epochs = trained(distprop, tmp_path, "digits")
    assert len(epochs) == 12 and best(epochs)["validation_accuracy"] >= 0.97
    done = distprop("evaluate", "run", "--data", EXAMPLES / "data" / "digits-test.csv", "--json")
    measured = json.loads(done.stdout)
    assert measured["rows"] == 360 and measured["accuracy"] == best(epochs)["validation_accuracy"]


@pytest.mark.long
def test_diabetes_is_a_regression_that_explains_two_fifths_of_the_variance(distprop, tmp_path):
    epochs = trained(distprop, tmp_path, "diabetes")
    assert len(epochs) < 30 and best(epochs)["validation_r2"] >= 0.4
    done = distprop("predict", "run", EXAMPLES / "data" / "diabetes.csv", "-o", "out.csv")
    assert done.returncode == 0 and done.stderr == ""
    header, *values = (tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()
    assert header == "target" and len(values) == 442 and all(0 < float(value) < 400 for value in values)


@pytest.mark.long
def test_a_residual_network_trains(distprop, tmp_path):
    assert best(trained(distprop, tmp_path, "residual"))["validation_accuracy"] >= 0.95


def test_the_script_makes_the_same_model_by_itself_and_under_mpirun(run_command, mpirun):
    script = [sys.executable, EXAMPLES / "my_training.py"]
    alone = run_command(script)
    shared = run_command([*mpirun(2), *script])
    assert alone.returncode == 0 and shared.returncode == 0, alone.stderr + shared.stderr
    accuracy, digest = (line.split()[1] for line in alone.stdout.splitlines()[-2:])
    assert float(accuracy) >= 0.97 and len(digest) == 64
    assert shared.stdout.splitlines()[-2:] == alone.stdout.splitlines()[-2:]
    assert shared.stdout.count("digest") == 1
