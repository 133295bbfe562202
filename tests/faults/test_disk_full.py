"""R13: the disk is full, or can't be written any more, while a run is trained. What was written before stays.

Ranks are threads here. Where a test may mount one, the disk is a small one in memory; else /dev/full stands for it.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import distprop as dp
from distprop.comm.threads import run_ranks
from distprop.errors import CheckpointError
from distprop.run_directory import RunDirectory
from distprop.training import observer
from distprop.training.checkpoint import Checkpoints, read_checkpoint
from distprop.training.loop import STOP

RANKS, EPOCHS, STEPS = 3, 6, 6  # epochs of 6 steps
X = np.random.default_rng(3).normal(size=(90, 2))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


@pytest.fixture(autouse=True)
def no_mpi_around(monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "DISTPROP_LAUNCHED"):
        monkeypatch.delenv(name, raising=False)


def train(run, on_error="continue", units=8):
    """Each rank's digest, or the CheckpointError that it ended with. A checkpoint is due after each epoch."""
    network = dp.Network([dp.Dense(units, "tanh"), dp.Dense(3)], loss=dp.SoftmaxCrossEntropy())
    rules = dp.Checkpoint(every_seconds=0, on_error=on_error)

    def work(comm):
        options = {"epochs": EPOCHS, "batch_size": 16, "shards": 4, "verbose": False, "checkpoint": rules}
        try:
            result = dp.train(network, dp.Dataset(X, Y), dp.Dataset(X[:20], Y[:20]), run=run, comm=comm, **options)
        except CheckpointError as error:
            return error
        return result.model.digest()

    return run_ranks(RANKS, work)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """The digest of a run that nothing happened to, by the number of units."""
    base = tmp_path_factory.mktemp("golden")
    return {units: train(base / str(units), units=units)[0] for units in (8, 2000)}


def steps_of(run):
    """Of the checkpoints, all of which must be whole."""
    return sorted(read_checkpoint(path).progress.step for path in RunDirectory(run).checkpoints.iterdir())


def texts(outcomes):
    """The one thing that all ranks said."""
    assert all(isinstance(outcome, CheckpointError) for outcome in outcomes), outcomes
    assert len(set(map(str, outcomes))) == 1 and "\n" not in str(outcomes[0])
    assert outcomes[0].exit_code == 4
    return str(outcomes[0])


@pytest.fixture
def full(monkeypatch):
    """Call it with numbers of attempts, from 1: these checkpoints' optimizer states go to a device that is full."""
    real, attempts = os.open, []

    def set_up(*which):
        def open_(path, flags, *more, **options):
            if str(path).endswith("optimizer.safetensors") and flags & os.O_CREAT:
                attempts.append(path)
                if len(attempts) in which:
                    return real("/dev/full", os.O_WRONLY)
            return real(path, flags, *more, **options)

        monkeypatch.setattr(os, "open", open_)

    return set_up


def test_training_goes_on_with_one_warning_and_the_same_bits(tmp_path, full, capfd, golden):
    full(3, 4, 5)
    assert train(tmp_path / "run") == [golden[8]] * RANKS
    said = capfd.readouterr().err
    file = f"{tmp_path}/run/checkpoints/step-0000000018-epoch-000003/optimizer.safetensors"
    assert said == (
        f"warning: {file}: can't be written: No space left on device; that of step 12 is as it was; "
        "training goes on, and tries again later\n"
    )
    assert steps_of(tmp_path / "run") == [12, 36]
    status = RunDirectory(tmp_path / "run").read_status()
    assert status["phase"] == "done" and [f"warning: {line}\n" for line in status["warnings"]] == [said]


def test_a_second_time_of_trouble_is_told_again(tmp_path, full, capfd, golden):
    full(2, 3, 5)
    assert train(tmp_path / "run") == [golden[8]] * RANKS
    assert capfd.readouterr().err.count("warning: ") == 2


def test_all_ranks_stop_in_the_same_step_if_so_configured(tmp_path, full, monkeypatch, golden):
    full(3)
    text = texts(train(tmp_path / "run", "stop"))
    assert "No space left on device; that of step 12 is as it was; stopped at step 18" in text
    assert steps_of(tmp_path / "run") == [6, 12] and not RunDirectory(tmp_path / "run").model.exists()
    monkeypatch.undo()
    assert train(tmp_path / "run", "stop") == [golden[8]] * RANKS


@pytest.mark.parametrize("which", [(6,), (1, 2, 3, 4, 5, 6)], ids=["the last one", "all"])
def test_a_run_whose_last_checkpoint_can_not_be_written_has_failed(tmp_path, full, monkeypatch, which, golden):
    full(*which, 7)  # the one at the end of the last epoch, and the one at the end of training
    text = texts(train(tmp_path / "run"))
    assert text.endswith(f"stopped at step {EPOCHS * STEPS}") and "No space left" in text
    run = RunDirectory(tmp_path / "run")
    assert run.read_status()["phase"] != "done" and not run.model.exists()
    assert steps_of(run.path) == ([] if 1 in which else [24, 30])
    monkeypatch.undo()
    assert train(tmp_path / "run") == [golden[8]] * RANKS


def test_a_stop_that_can_not_keep_its_checkpoint_says_so(tmp_path, full, monkeypatch, golden):
    full(2)
    wish = observer.RunObserver.wish
    monkeypatch.setattr(
        observer.RunObserver, "wish", lambda self, done, n: STOP if done.step + n >= 9 else wish(self, done, n)
    )
    monkeypatch.setattr(observer.RunObserver, "most_steps", lambda self, progress: 1)
    text = texts(train(tmp_path / "run"))
    assert "that of step 6 is as it was; stopped at step 9" in text
    assert steps_of(tmp_path / "run") == [6]


def test_without_room_for_metrics_and_status_training_goes_on_with_a_warning_each(tmp_path, monkeypatch, capfd, golden):
    status, append = RunDirectory.write_status, RunDirectory.append_metrics

    def no_room(real):
        def write(self, *records, **options):
            if records[0].get("phase") in (None, "training"):
                raise OSError(28, "No space left on device")
            real(self, *records, **options)

        return write

    monkeypatch.setattr(observer, "STATUS_S", 0.0)
    monkeypatch.setattr(RunDirectory, "write_status", no_room(status))
    monkeypatch.setattr(RunDirectory, "append_metrics", no_room(append))
    assert train(tmp_path / "run") == [golden[8]] * RANKS
    said = sorted(capfd.readouterr().err.splitlines())
    assert [line.split(": ")[1].rsplit("/")[-1] for line in said] == ["metrics.jsonl", "status.json"]


def test_of_a_line_of_metrics_without_room_nothing_is_left(tmp_path, monkeypatch):
    run = RunDirectory.create(tmp_path / "run")
    run.append_metrics({"kind": "step", "step": 1})
    command = [
        sys.executable,
        "-c",
        "import resource, sys; from pathlib import Path; from distprop.run_directory import RunDirectory\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))\n"
        "run = RunDirectory(Path(sys.argv[1]))\n"
        "try: run.append_metrics({'kind': 'step', 'step': 2, 'more': 'x' * 100})\n"
        "except OSError as error: print(error.strerror)\n",
        run.path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() in ("No space left on device", "File too large")
    run.append_metrics({"kind": "step", "step": 3})
    assert [record["step"] for record in run.read_metrics()] == [1, 3]
    assert len(run.metrics.read_text().splitlines()) == 2


LIMITED = """
import json, resource, sys
from pathlib import Path
from states import CONFIG, checkpoint, folder_with, problem_of
from distprop.errors import CheckpointError
found = []
for limit in map(int, sys.argv[2:]):
    folder = Path(sys.argv[1]) / str(limit)
    checkpoints, said = folder_with(folder, 5, 6), "saved"
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        checkpoints.save(checkpoint(7))
    except CheckpointError as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    found.append([said, problem_of(folder, (6, 7), 2)])
print(json.dumps(found))
"""


def test_a_limit_of_the_size_of_files_loses_nothing(faults, run_command, tmp_path):
    limits = ["0", "1", "100", "250", "400", "700"]
    command = [sys.executable, "-c", LIMITED, tmp_path, *limits]
    done = run_command(command, environment={"PYTHONPATH": str(faults.programs)})
    outcomes = json.loads(done.stdout)
    assert len(outcomes) == len(limits)
    for said, problem in outcomes:
        assert problem is None and ": can't be written: File too large" in said


def test_a_disk_with_room_for_two_checkpoints_keeps_them_and_training_goes_on(tmp_path, capfd, golden, disk):
    with disk(tmp_path / "disk", "500k") as change:  # a checkpoint takes 210 kB
        run = tmp_path / "disk" / "run"
        text = texts(train(run, units=2000))
        assert "No space left on device; that of step 12 is as it was; stopped at step 36" in text
        assert capfd.readouterr().err.count("warning: ") == 1
        assert steps_of(run) == [6, 12]
        change("size=5m")
        assert train(run, units=2000) == [golden[2000]] * RANKS


def test_a_disk_that_becomes_read_only_keeps_all(tmp_path, monkeypatch, golden, disk):
    with disk(tmp_path / "disk", "5m") as change:
        run, save, attempts = tmp_path / "run", Checkpoints.save, []

        def save_(self, checkpoint):
            attempts.append(checkpoint.name)
            if len(attempts) == 1:  # checkpoints may lie on another disk
                self.path.rmdir()
                self.path.symlink_to(tmp_path / "disk")
            if len(attempts) == 3:
                change("ro")
            save(self, checkpoint)

        monkeypatch.setattr(Checkpoints, "save", save_)
        text = texts(train(run))
        assert "Read-only file system; that of step 12 is as it was; stopped at step 36" in text
        assert steps_of(run) == [6, 12]
        monkeypatch.undo()
        change("rw")
        assert train(run) == [golden[8]] * RANKS
