"""Ranks of somebody else's mpirun that were started with different things: one line, before anything is trained."""

import sys
from pathlib import Path

import pytest

CONFIG = """
[data]
train = "train.csv"

[network]
layers = [{ type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }

[training]
batch_size = 16
shards = 4
epochs = 1
"""
TRAIN = [sys.executable, "-m", "distprop.cli", "train", "small.toml", "--run", "run"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, odd in (("train.csv", 0), ("other.csv", 1)):
        rows = "".join(f"{n % 7 + odd},{n % 5},{n % 3}\n" for n in range(64))
        (tmp_path / name).write_text(f"x,y,target\n{rows}")
    (tmp_path / "small.toml").write_text(CONFIG)
    package = tmp_path / "packages" / "numba-0.1.2.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: numba\nVersion: 0.1.2\n")
    return tmp_path


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ([*TRAIN, "--set", "data.train=other.csv"], "rank 2 has data "),
        ([*TRAIN, "--set", "training.shards=2"], "rank 2 has configuration "),
        (["env", "PYTHONPATH=packages", *TRAIN], "rank 2 has numba 0.1.2, the others have "),
    ],
    ids=["data", "configuration", "version"],
)
def test_a_rank_that_was_started_with_something_else_is_named(odd, text, folder, run_command, mpirun):
    done = run_command([*mpirun(2), *TRAIN, ":", "-n", "1", *odd])
    said = [line for line in done.stderr.splitlines() if "alike" in line]
    assert done.returncode != 0 and len(said) == 1, done.stderr
    assert said[0].startswith(f"the ranks aren't alike: {text}") and "Traceback" not in done.stderr
    assert not (folder / "run").exists()
