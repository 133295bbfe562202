"""Kernels are compiled before the ranks start: once, with one line that says so, and all that the ranks will call."""

import re
import signal
import sys
from pathlib import Path

import pytest

CONFIG = """
[data]
train = "train.csv"
validation_fraction = 0.2

[network]
layers = [{ type = "standardise" }, { type = "dense", units = 5, activation = "tanh" }, { type = "dense", units = 2 }]
loss = { type = "softmax_cross_entropy" }

[training]
batch_size = 16
shards = 4
epochs = 2
"""
LINE = "compiling kernels for this network, once on this machine"
RUN = "runs/small"
# What takes long to import and isn't needed where data are prepared, kernels compiled and the configuration is right.
NOT_FOR_WARM_STARTS = {"pydantic", "pyarrow", "rich", "psutil", "numba.np.arrayobj"}

# The launcher's own function with a pretended compiler: argv is the time that it may take, and its command.
FINISH = """
import sys
from distprop.errors import DistpropError
from distprop.launch.command import Command
from distprop.launch.run import finish, stop_requests
from distprop.run_directory import RunDirectory
run = RunDirectory.create_named("run")
print("started", flush=True)
try:
    with stop_requests() as stop:
        finish(Command(tuple(sys.argv[2:]), {}), run, 2, stop, float(sys.argv[1]))
except DistpropError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def config(tmp_path):
    rows = "".join(f"{n % 7},{n % 5},{n // 3 % 2}\n" for n in range(100))
    (tmp_path / "train.csv").write_text("x,y,target\n" + rows)
    (tmp_path / "small.toml").write_text(CONFIG)
    return "small.toml"


def compiled(folder: Path) -> dict[str, float]:
    """The files of compiled code, and when they were written."""
    return {str(file): file.stat().st_mtime for file in folder.rglob("*.nbc")}


@pytest.mark.long
@pytest.mark.parametrize("ranks", [1, 2])
def test_all_that_ranks_call_is_compiled_before_they_start(config, distprop, run_command, tmp_path, ranks):
    cache = {"DISTPROP_CACHE": str(tmp_path / "cache")}
    first = distprop("train", config, "-n", str(ranks), environment=cache)
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[1] == LINE and first.stdout.count(LINE) == 1
    files = compiled(tmp_path / "cache")
    ranks_began = (tmp_path / RUN / "logs" / "rank-0.log").stat().st_ctime
    assert files and max(files.values()) < ranks_began
    again = distprop("train", config, "-n", str(ranks), environment=cache)
    assert again.returncode == 0 and LINE not in again.stdout
    assert compiled(tmp_path / "cache") == files
    rank = run_command(
        [sys.executable, "-X", "importtime", "-m", "distprop.worker", RUN, str(ranks)], environment=cache
    )
    imported = set(re.findall(r"^import time:.*\| *(\S+)$", rank.stderr, re.MULTILINE))
    assert rank.returncode == 0 and "numba" in imported and not imported & NOT_FOR_WARM_STARTS


def test_a_compiler_that_fails_ends_the_run_with_what_it_said(run_command):
    program = ["sh", "-c", "echo 'the cat sat on the cache'; exit 3"]
    done = run_command([sys.executable, "-c", FINISH, "100", *program])
    *said, last = done.stderr.splitlines()
    assert done.returncode == 1 and set(said) == {"the cat sat on the cache"}
    assert last.startswith("compiling failed (code 3) before the run was done; all output: runs/run/logs/mpirun.log")


def test_a_compiler_that_is_done_is_quiet(run_command):
    done = run_command([sys.executable, "-c", FINISH, "100", "true"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "started\n", "")


def test_a_compiler_that_takes_too_long_is_ended(run_command):
    done = run_command([sys.executable, "-c", FINISH, "1", "sleep", "100"])
    assert done.returncode == 1
    assert done.stderr.startswith("compiling took longer than 1 s (launch.compile_seconds) before the run was done")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_compiler_at_once(run_command, number):
    with run_command.start([sys.executable, "-c", FINISH, "100", "sleep", "100"]) as launcher:
        launcher.stdout.readline()
        while not (running := [one for one in run_command.members(run_command.tokens) if one.name() == "sleep"]):
            assert launcher.poll() is None
        launcher.send_signal(number)
        _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 75 and running
    assert errors == "stopped at step 0; continue with: distprop resume runs/run\n"
