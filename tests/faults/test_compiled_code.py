"""R20: whatever becomes of the files of compiled code costs time only: no crash, no stale code, the same bits."""

import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from distprop import compiled
from distprop.kernels import jit
from distprop.run_directory import RunDirectory

# Compiles kernels or loads them; prints how many it had to compile, and what they compute.
PROGRAM = """
import sys
import numpy as np
import distprop.kernels.jit as jit
from distprop.kernels.norms import block_square_sums
from distprop.kernels.step import set_scale
from distprop.kernels.tree import column_sums
exec(sys.argv[1])
scale, total, out, sums = np.zeros(1), np.zeros(1), np.zeros(2), np.zeros(3)
table = np.arange(14.0).reshape(7, 2) / 3
set_scale(scale, total, np.arange(1, 8) / 7)
block_square_sums(sums, np.arange(2100) / 9)
column_sums(out, table, np.array([0, 3, 3, 7]), np.zeros((2, 2)))
kernels = (set_scale, block_square_sums, column_sums)
print(sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels))
print(*(value.hex() for array in (scale, total, sums, out) for value in array.tolist()))
"""
KERNELS = 3


@pytest.fixture
def run(run_command, tmp_path):
    """Call it to run the program with a cache folder; gives how many kernels it compiled, and what they computed."""

    def run(cache=tmp_path / "cache", first="", **environment):
        variables = {"DISTPROP_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1", **environment}
        done = run_command([sys.executable, "-c", PROGRAM, first], environment=variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        compiled, computed = done.stdout.splitlines()
        return int(compiled), computed

    return run


def files(cache):
    """Of compiled code, all of one folder; nothing else may be left there but locks."""
    found = sorted(path for path in (cache / "kernels").rglob("*") if path.is_file())
    assert {path.suffix for path in found} <= {".nbc", ".lock"}, found
    return [path for path in found if path.suffix == ".nbc"]


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


DAMAGES = {
    "empty": lambda one, other: one.write_bytes(b""),
    "cut short": lambda one, other: one.write_bytes(one.read_bytes()[:-1]),
    "a flipped bit of machine code": lambda one, other: flip(one, 4 * one.stat().st_size),
    "another kernel's": lambda one, other: shutil.copy(other, one),
    "another program's": lambda one, other: one.write_bytes(b"PK\x03\x04 this is an archive"),
    "gone": lambda one, other: one.unlink(),
}
ALL = ("cut short", "a flipped bit of machine code", "another kernel's", *("empty", "another program's", "gone"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A cache folder with all of the program's kernels, and what they compute."""
    folder = tmp_path_factory.mktemp("full")
    command = [sys.executable, "-c", PROGRAM, ""]
    environment = {**os.environ, "DISTPROP_CACHE": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=True)
    compiled, computed = done.stdout.splitlines()
    assert int(compiled) == KERNELS
    return folder, computed


@pytest.mark.parametrize("names", [ALL[:3], pytest.param(ALL[3:], marks=pytest.mark.long)], ids=", ".join)
def test_damaged_files_are_made_again(run, tmp_path, full, names):
    cache, computed = shutil.copytree(full[0], tmp_path / "cache"), full[1]
    *_, one, two, three = files(cache)
    for name, file, other in zip(names, (one, two, three), (two, three, one), strict=True):
        DAMAGES[name](file, other)
    compiled, again = run(cache)
    assert compiled >= 1 and again == computed
    assert run(cache) == (0, computed)


@pytest.fixture
def stored(memory, monkeypatch):
    """A file in a folder of compiled code; and a function that tells whether anything is found in a folder."""
    folder = memory / "0123456789abcdef"
    folder.mkdir()
    data, key = random.Random(1).randbytes(300), ("signature", "cpu")

    def found(in_folder=folder, base="norms.f-7", stamp="source", key=key):
        monkeypatch.setattr(jit, "kernel_cache", lambda: in_folder)
        return jit._Files(base, stamp).load(key)

    assert found() is None
    jit._Files("norms.f-7", "source").save(key, data)
    assert found() == data
    (path,) = folder.iterdir()
    return path, found


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 13])
def test_no_damage_to_a_bit_or_the_length_of_a_file_is_overlooked(stored, step):
    path, found = stored
    content = path.read_bytes()
    for length in range(0, len(content), step):
        path.write_bytes(content[:length])
        assert found() is None, length
    path.write_bytes(content + b"\0")
    assert found() is None
    for bit in range(0, 8 * len(content), step):
        path.write_bytes(content)
        flip(path, bit)
        assert found() is None, bit
    path.write_bytes(content)
    assert found() is not None


def test_a_file_of_another_folder_name_signature_or_source_is_not_taken(stored, memory):
    path, found = stored
    other = memory / "fedcba9876543210"  # of other sources, another Numba or another CPU
    other.mkdir()
    shutil.copy(path, other / path.name)
    assert found(other) is None
    assert found(stamp="source changed") is None
    for changed in ({"base": "norms.g-7"}, {"key": ("another signature", "cpu")}):
        assert found(**changed) is None
        name = next(name for name in names_asked_for(found, changed) if name != path.name)
        shutil.copy(path, path.with_name(name))
        assert found(**changed) is None
    assert found() is not None


def names_asked_for(found, changed):
    """The names of the files that are looked for."""
    names, read = [], Path.read_bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: (names.append(path.name), read(path))[1])
        found(**changed)
    return names


@pytest.fixture
def by_another_user():
    """Call it with a folder that is ours alone and a function: what that gives to a user who may not look into it."""

    def call(folder, function):
        folder.chmod(0o700 if os.geteuid() == 0 else 0)
        if os.geteuid():  # then the folder is closed to ourselves
            return function()
        os.seteuid(65534)
        try:
            return function()
        finally:
            os.seteuid(0)

    return call


def test_a_folder_that_only_another_user_may_read_counts_as_empty(stored, by_another_user, monkeypatch):
    path, found = stored
    (path.parent / "compiled-mark").touch()
    monkeypatch.setattr(compiled, "kernel_folder", lambda: path.parent)
    assert compiled.is_there("compiled-mark") and found() is not None
    assert not by_another_user(path.parent, lambda: compiled.is_there("compiled-mark"))
    assert by_another_user(path.parent, found) is None
    assert by_another_user(path.parent, lambda: jit._Lock(path.parent / "f.lock").take(0.0))


@pytest.mark.long
def test_a_folder_that_can_not_be_made_only_costs_time(run, tmp_path, full):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == (KERNELS, full[1])


@pytest.mark.long
def test_a_read_only_folder_is_read_and_not_written(run, tmp_path, disk, full):
    with disk(tmp_path / "disk", "5m") as change:
        change("ro")
        assert run(tmp_path / "disk") == (KERNELS, full[1])
        change("rw")
        shutil.copytree(full[0], tmp_path / "disk", dirs_exist_ok=True)
        change("ro")
        assert run(tmp_path / "disk") == (0, full[1])


@pytest.mark.long
def test_a_full_disk_only_costs_time(run, tmp_path, disk, full):
    with disk(tmp_path / "disk", "24k"):  # room for folders, locks and one small file
        assert run(tmp_path / "disk") == (KERNELS, full[1])
        assert len(files(tmp_path / "disk")) < KERNELS
        assert run(tmp_path / "disk")[1] == full[1]


@pytest.mark.long
def test_a_folder_that_is_removed_while_it_is_used_is_made_again(run, tmp_path, full):
    cache = shutil.copytree(full[0], tmp_path / "cache")
    gone = "import shutil; shutil.rmtree(jit.kernel_cache())"
    assert run(cache, gone) == (KERNELS, full[1])
    assert run(cache) == (0, full[1])


@pytest.mark.long
def test_code_of_a_changed_source_is_compiled_anew_also_where_it_is_only_called(run, copy, full):
    """set_scale calls ordered_sum, which is in another file."""
    norms, environment = copy / "distprop/kernels/norms.py", {"PYTHONPATH": str(copy)}
    text = norms.read_text()
    old, new = "    total = 0.0\n    for value in values:", "    total = 2.0\n    for value in values:"
    assert text.count(old) == 1
    assert run(full[0], **environment) == (0, full[1])
    norms.write_text(text.replace(old, new))
    compiled, computed = run(full[0], **environment)
    assert compiled == KERNELS and [round(float.fromhex(one.split()[1]), 6) for one in (full[1], computed)] == [4, 6]
    norms.write_text(text)
    assert run(full[0], **environment) == (0, full[1])


# A network of few kernels, which are compiled soon.
CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[optimizer]
type = "sgd"
learning_rate = 0.01
[training]
batch_size = 16
shards = 8
epochs = 2
"""
RANKS, CACHES, LAUNCHERS = 8, 5, 4


@pytest.fixture
def config(tmp_path):
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(100))
    (tmp_path / "train.csv").write_text("x,y,target\n" + rows)
    (tmp_path / "small.toml").write_text(CONFIG)
    return "small.toml"


@pytest.fixture
def full_digest(run_command, config):
    """Of the model that is trained with the usual cache."""
    with started(run_command, config, "usual", os.environ.get("DISTPROP_CACHE", ""), ranks=1) as process:
        said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    return digest_of(run_command, "usual")


def started(run_command, config, run, cache, ranks=RANKS):
    command = [sys.executable, "-m", "distprop.cli", "train", config, "-n", str(ranks), "--run", run]
    return run_command.start(command, environment={"DISTPROP_CACHE": str(cache)})


def digest_of(run_command, run):
    return RunDirectory(run_command.folder / run).read_status()["digest"]


@pytest.mark.long
@pytest.mark.parametrize("number", range(CACHES))
def test_launchers_of_many_ranks_that_start_at_once_on_an_empty_folder_train_the_same_model(
    run_command, config, tmp_path, full_digest, number
):
    names = [f"run-{launcher}" for launcher in range(LAUNCHERS)]
    with ExitStack() as stack:
        launchers = [stack.enter_context(started(run_command, config, name, tmp_path / "cache")) for name in names]
        said = [launcher.communicate(timeout=250) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0] * LAUNCHERS, said
    assert {digest_of(run_command, name) for name in names} == {full_digest}


@pytest.mark.long
def test_a_folder_that_is_removed_while_ranks_start_does_no_harm(run_command, config, tmp_path, full_digest):
    cache = tmp_path / "cache"
    with started(run_command, config, "run", cache, ranks=2) as process:
        for _ in range(3):
            while process.poll() is None and len(list(cache.rglob("*.nbc"))) < 4:
                time.sleep(0.02)
            shutil.rmtree(cache / "kernels", ignore_errors=True)
        said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    assert digest_of(run_command, "run") == full_digest
