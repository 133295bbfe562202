"""What a resumed run starts from: the newest checkpoint that verifies, on all ranks, and never step 0 in silence."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from distprop.comm.threads import run_ranks
from distprop.errors import CheckpointError
from distprop.run_directory import RunDirectory, generations
from distprop.training.checkpoint import Checkpoints
from distprop.training.run import agreed_checkpoint

CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 5, activation = "tanh" }, { type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[training]
batch_size = 16
shards = 4
epochs = 4
[checkpoint]
every_seconds = 0
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of 4 epochs that is done, and the digest of its model."""
    folder = tmp_path_factory.mktemp("made")
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(100))
    (folder / "train.csv").write_text("x,y,target\n" + rows)
    (folder / "small.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "distprop.cli", "train", "small.toml", "-n", "1", "--run", "run"]
    subprocess.run(command, cwd=folder, timeout=150, check=True)
    run = RunDirectory(folder / "run")
    return run, run.read_status()["digest"]


@pytest.fixture
def run(made, tmp_path):
    """The same as if it had been killed before it could save its model."""
    shutil.copytree(made[0].path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    run.model.unlink()
    run.status.unlink()
    return run


def told(done):
    """The lines on standard error, without what is said where ranks are more than cores."""
    return [line for line in done.stderr.splitlines() if "cores for this process" not in line]


def test_a_damaged_checkpoint_is_one_warning_and_the_same_model(made, run, distprop):
    newest, older = generations(run.checkpoints)
    (newest / "params.safetensors").write_bytes(b"")
    (run.checkpoints / f".{newest.name}.0123abcd").mkdir()
    (run.path / ".status.json.4711").touch()
    (run.path / "notes.txt").touch()
    done = distprop("resume", "run", "-n", "3")
    assert done.returncode == 0
    (warning,) = told(done)
    assert warning.startswith(f"warning: {newest.resolve()}/params.safetensors: damaged: ")
    assert warning.endswith(f"going on from {older.name}")
    assert run.read_status()["digest"] == made[1]
    assert distprop("verify", "run").returncode == 0
    assert all(path.name.startswith("step-") for path in run.checkpoints.iterdir())
    assert not (run.path / ".status.json.4711").exists() and (run.path / "notes.txt").exists()


def test_if_no_checkpoint_is_left_the_run_ends_with_exit_code_4(run, distprop):
    for path in generations(run.checkpoints):
        shutil.rmtree(path)
    before = run.metrics.read_bytes()
    done = distprop("resume", "run", "-n", "2")
    assert done.returncode == 4
    (error,) = told(done)
    assert "step-0000000028-epoch-000004: is missing; no checkpoint of this run" in error
    assert run.metrics.read_bytes() == before and not run.model.exists()


def test_with_other_data_a_run_is_not_resumed(made, run, distprop):
    config, table = run.config.read_text(), made[0].path.parent / "train.csv"
    (run.path / "other.csv").write_text(table.read_text().replace("0,0,0", "0,0,1", 1))
    assert str(table) in config
    run.config.write_text(config.replace(str(table), str(run.path / "other.csv")))
    done = distprop("resume", "run", "-n", "1")
    assert done.returncode == 4 and ": made with other data; bring that back, or start a new run" in done.stderr
    assert not run.model.exists()


def resumed(run, ranks=1):
    """What ranks go on from, or the error that they all raise; and the warnings."""
    config, seen = json.loads((generations(run.checkpoints)[-1] / "manifest.json").read_text())["config"], []

    def work(comm):
        observer = SimpleNamespace(checkpoints=Checkpoints(run.checkpoints, 2), warn=seen.append)
        try:
            return agreed_checkpoint(run, config, comm, observer).name
        except CheckpointError as error:
            return str(error)

    return run_ranks(ranks, work), seen


def test_a_checkpoint_that_is_gone_is_told_of(run):
    newest, older = generations(run.checkpoints)
    shutil.rmtree(newest)
    found, seen = resumed(run, 2)
    assert found == [older.name] * 2 and seen == [f"{newest}: is missing; going on from {older.name}"]


def test_if_all_are_damaged_every_rank_raises_one_error_that_names_them(run):
    for path in generations(run.checkpoints):
        (path / "params.safetensors").write_bytes(b"")
    found, seen = resumed(run, 3)
    assert len(set(found)) == 1 and seen == [] and found[0].count("params.safetensors: damaged") == 2


def test_all_ranks_go_on_from_what_rank_0_has_verified(faults, tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    faults.states.folder_with(run.checkpoints, 5, 6)
    (generations(run.checkpoints)[0] / "best.safetensors").write_bytes(b"")
    seen = []

    def work(comm):
        checkpoints = Checkpoints(run.checkpoints, 2)
        if comm.rank == 1:  # its disk shows it nothing
            checkpoints.load = lambda config: (None, [])
        observer = SimpleNamespace(checkpoints=checkpoints, warn=seen.append)
        return agreed_checkpoint(run, faults.states.CONFIG, comm, observer).progress.step

    assert run_ranks(3, work) == [5, 5, 5]
    assert len(seen) == 1
