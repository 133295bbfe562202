"""One digest: today and before, on any CPU, on any number of ranks under a real mpirun, stopped and resumed."""

import importlib.util
import json
import platform
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from llvmlite.binding import get_host_cpu_features

from distprop.comm.serial import Serial
from distprop.run_directory import RunDirectory, age_of, generations

PROGRAM = Path(__file__).with_name("reference_digests.py")
KEPT = json.loads(PROGRAM.with_suffix(".json").read_text(encoding="utf-8"))
TARGETS = {
    "x86-64": (),
    "haswell": ("avx2", "fma"),
    "znver3": ("avx2", "fma", "vaes"),
    "skylake-avx512": ("avx512f", "avx512dq", "avx512bw", "avx512vl"),
}
QUICK = [("x86-64", "momentum"), ("skylake-avx512", "momentum")]
RANKS = (1, 2, 3, 4, 5, 7, 8)

CONFIG = """
seed = 3
[data]
train = "train.csv"
columns = { target = "y", weight = "w" }
[network]
layers = [
    { type = "standardise" },
    { type = "dense", units = 600, activation = "relu" },
    { type = "dropout", rate = 0.2 },
    { type = "dense", units = 300, activation = "tanh" },
    { type = "dense", units = 3 },
]
loss = { type = "softmax_cross_entropy" }
[optimizer]
type = "adam"
[training]
epochs = 2
batch_size = 150
shards = 8
[checkpoint]
keep = 3
"""


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference_digests", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config(tmp_path):
    """Data whose last minibatch is ragged, with sample weights."""
    rows = [f"{n % 7},{n * n % 11},{n * 13 % 17},{'abc'[n // 2 % 3]},{1 + n % 4}" for n in range(400)]
    (tmp_path / "train.csv").write_text("\n".join(["a,b,c,y,w", *rows]) + "\n")
    (tmp_path / "small.toml").write_text(CONFIG)
    return "small.toml"


def test_every_run_is_kept(reference):
    assert list(reference.RUNS) == list(KEPT)
    assert len(set(KEPT.values())) == len(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_runs_have_the_bits_that_they_always_had(reference, name):
    assert reference.digest(name, Serial()) == KEPT[name]


def check_grid(grid):
    """Every run's digests, on every rank of any number of them, as a whole and stopped in the middle: all are kept."""
    other = {(name, ranks) for name, found in grid.items() for ranks in found if set(found[ranks]) != {KEPT[name]}}
    assert not other
    return sum(map(len, grid.values()))


@pytest.mark.parametrize("name", KEPT)
def test_any_number_of_ranks_gives_these_bits_also_stopped_and_resumed_on_another(reference, name):
    assert check_grid({name: reference.grid(name)}) == 2 * sum(ranks <= reference.RUNS[name][6] for ranks in RANKS)


def environment_of(target):
    host = get_host_cpu_features()
    if not all(host.get(feature) for feature in TARGETS[target]):
        pytest.skip(f"this CPU can't run code for {target}")
    # Without NUMBA_CPU_FEATURES, Numba adds all features of this CPU to the target's.
    return {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the targets are x86-64 CPUs")
@pytest.mark.parametrize(("target", "name"), QUICK)
def test_code_for_any_cpu_gives_these_bits(run_command, target, name):
    done = run_command([sys.executable, PROGRAM, name], environment=environment_of(target))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: KEPT[name]}


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the targets are x86-64 CPUs")
@pytest.mark.parametrize("target", ["this CPU", *TARGETS])
def test_the_whole_grid_of_runs_ranks_restarts_cpus_and_caches_has_these_bits(run_command, tmp_path, target):
    environment = {} if target == "this CPU" else environment_of(target)
    for cache in ("cold", "warm"):
        cached = len(list(tmp_path.rglob("*.nbc")))
        assert (cached > 0) == (cache == "warm")
        done = run_command(
            [sys.executable, PROGRAM, "--grid"], 1500.0, {**environment, "DISTPROP_CACHE": str(tmp_path)}
        )
        assert done.returncode == 0, done.stderr
        assert check_grid(json.loads(done.stdout)) == 96
    assert len(list(tmp_path.rglob("*.nbc"))) == cached


def trained(distprop, config, ranks, *overrides, run="run"):
    """The digest of a run of `distprop train`."""
    done = distprop("train", config, "-n", str(ranks), "--run", run, *overrides)
    assert done.returncode == 0, done.stderr
    return digest_of(distprop, run)


def digest_of(distprop, run):
    return distprop("digest", run).stdout.strip()


def wait_for_training(process, run, limit_s=100.0):
    """Return when ranks have begun to train, or are done with it already."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        status = run.read_status() if run.path.exists() else None
        if status and status["phase"] in ("training", "done"):
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError(f"no training within {limit_s} s")


def stopped_in_the_middle(run_command, config, ranks):
    """A run whose launcher got SIGTERM while it trained, and its overrides: as many epochs as that takes here."""
    for epochs in (100, 1000, 10_000):
        run, overrides = f"cut-{epochs}", ("--set", f"training.epochs={epochs}")
        directory = RunDirectory(run_command.folder / run)
        command = [sys.executable, "-m", "distprop.cli", "train", config, "-n", str(ranks), "--run", run, *overrides]
        with run_command.start(command) as process:
            wait_for_training(process, directory)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=100)
        status = directory.read_status()
        if status["phase"] == "stopped" and status["step"] < status["steps"]:
            assert process.returncode == 75 and status["step"] > 0, errors
            return run, overrides
        assert process.returncode in (0, 75, -signal.SIGTERM), errors  # it was done, or nearly so
    raise AssertionError("no run was met in the middle")


def test_real_ranks_and_a_run_stopped_in_the_middle_give_the_bits_of_one_rank(distprop, run_command, config):
    run, overrides = stopped_in_the_middle(run_command, config, 3)
    done = distprop("resume", run, "-n", "2")
    assert done.returncode == 0, done.stderr
    one = trained(distprop, config, 1, *overrides)
    assert len(one) == 64 and digest_of(distprop, run) == one


def test_an_mpirun_of_the_users_gives_the_bits_of_the_launcher(distprop, run_command, config, mpirun):
    one = trained(distprop, config, 1)
    program = [sys.executable, "-m", "distprop.cli", "train", config, "--run", "users"]
    done = run_command([*mpirun(2), *program])
    assert done.returncode == 0, done.stderr
    assert digest_of(distprop, "users") == one and done.stdout.count(one) == 1


def rewind(run, step):
    """Make a run what it would be if it had been killed not long after a step."""
    run.model.unlink()
    run.status.unlink()
    for path in generations(run.checkpoints):
        if age_of(path.name)[0] > step:
            shutil.rmtree(path)
    run.truncate_metrics(step)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_any_number_of_real_ranks_gives_one_digest_also_killed_and_resumed_on_another(
    distprop, config, tmp_path, optimizer
):
    settings = (f"optimizer.type={optimizer}", "training.epochs=20", "checkpoint.every_steps=20", "checkpoint.keep=9")
    overrides = [word for setting in settings for word in ("--set", setting)]
    digests = {}
    for ranks, other in zip(RANKS, [*RANKS[1:], 1], strict=True):
        name = f"on-{ranks}"
        digests[name] = trained(distprop, config, ranks, *overrides, run=name)
        rewind(RunDirectory(tmp_path / name), 20)
        done = distprop("resume", name, "-n", str(other))
        assert done.returncode == 0, done.stderr
        assert RunDirectory(tmp_path / name).read_status()["start_step"] == 20
        digests[f"{name}, then {other}"] = digest_of(distprop, name)
    assert len(digests) == 14 and len(set(digests.values())) == 1, digests


def test_an_error_that_all_ranks_meet_is_told_once(run_command, config, mpirun):
    program = [sys.executable, "-m", "distprop.cli", "train", config, "--run", "users", "--set", "training.shards=2"]
    done = run_command([*mpirun(3), *program])
    assert done.returncode == 2 and done.stderr.count("3 ranks, but a minibatch has only 2 shards") == 1
