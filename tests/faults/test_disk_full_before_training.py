"""R13: the disk is full or can't be written before ranks start: preparing data, making a run, writing predictions."""

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import distprop as dp
from distprop.cli import main
from distprop.errors import CheckpointError

ROWS = "a,b,target\n" + "".join(f"{n},{n * n % 17},{n % 2}\n" for n in range(3000))
CONFIG = """
[data]
train = "train.csv"
validation_fraction = 0.25

[network]
layers = [{ type = "dense", units = 2 }]
loss = { type = "softmax_cross_entropy" }

[training]
epochs = 1
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "run.toml").write_text(CONFIG)


@contextmanager
def disk(folder, size):
    """A small disk in memory, which only root may mount, if the machine lets it."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(autouse=True, scope="module")
def model():
    """Made before any test has a cache of its own: compiled kernels stay where they were looked for first."""
    network = dp.Network([dp.Dense(2)], loss=dp.SoftmaxCrossEntropy())
    model = dp.train(network, dp.Dataset(np.eye(4), [0, 1, 0, 1]), epochs=1, batch_size=4, verbose=False).model
    model.predict(np.eye(4))
    return model


def fails(capsys, code, *arguments):
    """The one line on standard error."""
    assert main([str(argument) for argument in arguments]) == code
    output, errors = capsys.readouterr()
    assert output == "" and errors.count("\n") == 1 and "Traceback" not in errors
    return errors.removesuffix("\n")


@pytest.mark.parametrize("size", ["4k", "16k", "40k", "60k"])
def test_a_cache_without_room_is_named_with_the_cure_and_left_clean(tmp_path, capsys, monkeypatch, size):
    with disk(tmp_path / "disk", size) as change:
        monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path / "disk"))
        said = fails(capsys, 3, "train", "run.toml", "-n", "2")
        assert said == (
            f"{tmp_path}/disk/data: No space left on device; set DISTPROP_CACHE to a folder with room to write"
        )
        assert not [path for path in (tmp_path / "disk").rglob("*") if path.is_file() and path.suffix != ".lock"]
        assert not (tmp_path / "runs").exists()
        change("size=4m")
        assert main(["show", "run.toml"]) == 0


def test_a_cache_that_can_only_be_read_serves_what_is_in_it(tmp_path, capsys, monkeypatch):
    from distprop.config import load_config, resolve
    from distprop.data.prepare import prepare

    config = resolve(load_config(tmp_path / "run.toml"), tmp_path)
    with disk(tmp_path / "disk", "4m") as change:
        monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path / "disk"))
        digest = prepare(config.data, config.seed, config.dtype).digest
        change("ro")
        assert prepare(config.data, config.seed, config.dtype).digest == digest
        (tmp_path / "train.csv").write_text(ROWS + "1,1,1\n")
        assert fails(capsys, 3, "train", "run.toml", "-n", "2") == (
            f"{tmp_path}/disk/data: Read-only file system; set DISTPROP_CACHE to a folder with room to write"
        )


@pytest.mark.parametrize("size", [0, 100, 300, 5000])
def test_a_limit_of_the_size_of_files_is_named_while_data_are_prepared(tmp_path, capsys, size):
    with files_of_at_most(size):
        said = fails(capsys, 3, "train", "run.toml", "-n", "2")
    assert said == f"{tmp_path}/cache/data: File too large; set DISTPROP_CACHE to a folder with room to write"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("named", [True, False])
def test_a_run_whose_configuration_finds_no_room_is_not_left_half(tmp_path, capsys, monkeypatch, named):
    with disk(tmp_path / "disk", "256k") as change:
        monkeypatch.chdir(tmp_path / "disk")
        config, place = tmp_path / "run.toml", ["--run", "my"] if named else []
        filler = tmp_path / "disk" / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        said = fails(capsys, 2, "train", config, "-n", "2", *place)
        run = "my" if named else "runs/run"
        assert said == f"{run}/config.toml: No space left on device; choose another --run"
        assert not (tmp_path / "disk" / run).exists() and filler.exists()
        change("ro")
        said = fails(capsys, 2, "train", config, "-n", "2", *place)
        assert "can't make a folder for the run here: Read-only file system; choose" in said


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_predictions_without_room_leave_the_file_that_was_there(tmp_path, capsys, ending, model):
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", np.ones((20_000, 4)))
    with disk(tmp_path / "disk", "64k") as change:
        out = tmp_path / "disk" / f"out.{ending}"
        out.write_bytes(b"earlier")
        said = fails(capsys, 2, "predict", "model.safetensors", "x.npy", "-o", out)
        assert said == f"{out}: No space left on device" and out.read_bytes() == b"earlier"
        assert [path.name for path in out.parent.iterdir()] == [out.name]
        change("ro")
        assert fails(capsys, 2, "predict", "model.safetensors", "x.npy", "-o", out) == f"{out}: Read-only file system"
        change("rw,size=8m")
        assert main(["predict", "model.safetensors", "x.npy", "-o", str(out)]) == 0 and out.stat().st_size > 1 << 17


@pytest.mark.parametrize("size", [0, 100, 10_000])
def test_predictions_over_a_limit_of_size_leave_the_file_that_was_there(tmp_path, capsys, size, model):
    model.save(tmp_path / "model.safetensors")
    np.save(tmp_path / "x.npy", np.ones((2000, 4)))
    assert main(["predict", "model.safetensors", "x.npy", "-o", "out.csv"]) == 0  # prepares the features
    capsys.readouterr()
    before = (tmp_path / "out.csv").read_bytes()
    with files_of_at_most(size):
        said = fails(capsys, 2, "predict", "model.safetensors", "x.npy", "-o", "out.csv")
    assert said == "out.csv: File too large" and (tmp_path / "out.csv").read_bytes() == before
    assert not list(tmp_path.glob(".out.csv*"))


def test_a_model_that_finds_no_room_is_named_and_the_one_before_stays(tmp_path, model):
    with disk(tmp_path / "disk", "8k"):
        path = tmp_path / "disk" / "model.safetensors"
        model.save(path)
        before = path.read_bytes()
        (tmp_path / "disk" / "filler").write_bytes(bytes(4096))
        with pytest.raises(CheckpointError) as caught:
            model.save(path)
        assert str(caught.value).startswith(f"{path}: can't be written: ") and "No space left" in str(caught.value)
        assert path.read_bytes() == before and sorted(p.name for p in path.parent.iterdir()) == ["filler", path.name]


@pytest.mark.parametrize("command", [["check", "run.toml"], ["show", "run.toml"], ["schema"], ["digest", "model"]])
def test_output_that_finds_no_room_is_an_error(tmp_path, run_command, command, model):
    if command[0] == "digest":
        model.save(tmp_path / "model")
    words = [sys.executable, "-m", "distprop.cli", *command]
    done = run_command(["sh", "-c", '"$@" >/dev/full', "sh", *words])
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.endswith(f"{os.strerror(errno.ENOSPC)}\n")
