"""Real training under the launcher: stopped by a signal and resumed on other ranks, it gives the same model."""

import fcntl
import json
import signal
import subprocess
import sys
import time

import pytest

from distprop.run_directory import RunDirectory

CONFIG = """
[data]
train = "train.csv"
validation_fraction = 0.2

[network]
layers = [{ type = "dense", units = 5, activation = "tanh" }, { type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }

[training]
batch_size = 16
shards = 4
epochs = 60
"""
TRAIN = [sys.executable, "-m", "distprop.cli", "train", "small.toml"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.csv").write_text("x,y,target\n" + "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(400)))
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path


def stopped_in_the_middle(run_command):
    """A run whose launcher got SIGTERM while it trained, and its number of epochs: as many as that takes here."""
    for epochs in (60, 600, 6000):
        run = f"cut-{epochs}"
        command = [*TRAIN, "-n", "2", "--run", run, "--set", f"training.epochs={epochs}"]
        with run_command.start(command) as launcher:
            next(line for line in launcher.stdout if line.startswith("epoch"))
            launcher.send_signal(signal.SIGTERM)
            _, errors = launcher.communicate(timeout=100)
        if launcher.returncode == 75:
            assert f"continue with: distprop resume {run}" in errors
            return run, epochs
        assert launcher.returncode in (0, -signal.SIGTERM), errors  # it was done, or nearly so
    raise AssertionError("no run was met in the middle")


def test_a_run_that_is_stopped_and_resumed_on_other_ranks_ends_with_the_same_model(folder, run_command, distprop):
    run, epochs = stopped_in_the_middle(run_command)
    resumed = distprop("resume", run, "-n", "1")
    assert resumed.returncode == 0, resumed.stderr
    shown = [int(line.split()[1].split("/")[0]) for line in resumed.stdout.splitlines() if line.startswith("epoch")]
    assert shown == list(range(shown[0], epochs + 1)) and shown[0] > 1
    whole = distprop("train", "small.toml", "-n", "2", "--run", "whole", "--set", f"training.epochs={epochs}")
    assert whole.returncode == 0, whole.stderr
    assert distprop("digest", run).stdout == distprop("digest", "whole").stdout != ""
    records = [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records if record["kind"] == "epoch"] == list(range(1, epochs + 1))


def test_a_run_whose_launcher_was_killed_can_be_resumed_when_its_ranks_have_gone(folder, run_command, distprop):
    with run_command.start([*TRAIN, "-n", "2", "--run", "busy", "--set", "training.epochs=1000000000"]) as launcher:
        next(line for line in launcher.stdout if line.startswith("epoch"))
        launcher.kill()
        launcher.communicate()
        with (folder / "busy" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # waits until the last of them has gone
        while run_command.members(run_command.tokens):
            time.sleep(0.01)


def test_a_run_that_is_ended_is_given_back_even_if_a_process_of_its_mpirun_lingers(folder):
    run = RunDirectory.create(folder / "lingering")
    with run.held():
        lingering = subprocess.Popen(["sleep", "600"], close_fds=False)
    try:
        with run.held():
            pass
    finally:
        lingering.kill()
        lingering.wait()


def test_a_run_that_is_being_trained_is_not_resumed(folder, run_command, distprop):
    with run_command.start([*TRAIN, "--run", "busy", "--set", "training.epochs=1000000000"]) as launcher:
        next(line for line in launcher.stdout if line.startswith("epoch"))
        refused = distprop("resume", "busy")
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=60)
    assert refused.returncode == 2 and "being trained by another process" in refused.stderr
    assert launcher.returncode == 75
