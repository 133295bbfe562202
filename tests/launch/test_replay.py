"""distprop replay: steps of a run computed again by a real mpirun, on any number of ranks; the run stays as it is."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from distprop.cli import main
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
epochs = 2
log_every = 5

[checkpoint]
every_steps = 7
keep = 100
"""
STEPS = 40
RECORDED = sorted(
    {*range(0, STEPS, 5), *range(7, STEPS, 7), STEPS}
)  # before every fifth step, and with each checkpoint


def csv_of(odd=0):
    return "x,y,target\n" + "".join(f"{n % 7},{n % 5 + n % 11 * odd},{n % 3}\n" for n in range(400))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run that is done."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "train.csv").write_text(csv_of())
    (folder / "small.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "distprop.cli", "train", "small.toml", "-n", "2", "--run", "run"]
    subprocess.run(command, cwd=folder, timeout=250, check=True, stdout=subprocess.PIPE)
    return folder


@pytest.fixture
def run(made, tmp_path):
    """A copy of it that may be changed; its data stay where they were."""
    shutil.copytree(made / "run", tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def contents(run):
    return {path.relative_to(run.path): path.is_dir() or path.read_bytes() for path in sorted(run.path.rglob("*"))}


def change_metrics(run, change):
    """Rewrite the records of metrics.jsonl; those that `change` gives as None are left out."""
    records = [changed for record in run.read_metrics() if (changed := change(record))]
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.mark.parametrize(
    ("ranks", "first", "last"),
    [(1, 0, 12), pytest.param(2, 16, 28, marks=pytest.mark.long), pytest.param(3, 30, STEPS, marks=pytest.mark.long)],
)
def test_steps_of_a_run_have_the_same_digests_when_they_are_computed_again(run, distprop, ranks, first, last):
    before = contents(run)
    done = distprop("replay", run.path, "--steps", f"{first}:{last}", "-n", str(ranks))
    assert done.returncode == 0 and done.stderr == "", done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if "recorded" in line]
    steps = [str(step) for step in RECORDED if first <= step <= last] + ["model"] * (last == STEPS)
    assert [line[0] for line in lines] == steps
    assert all(line[2] == line[4] and line[5] == "same" for line in lines)
    assert contents(run) == before


def test_a_digest_that_was_recorded_otherwise_is_shown_and_ends_with_a_code_of_its_own(run, distprop):
    change_metrics(run, lambda record: record | ({"digest": "0" * 16} if record["step"] == 20 else {}))
    before = contents(run)
    done = distprop("replay", run.path, "--steps", "14:24", "-n", "1", "--json")
    assert done.returncode == 9
    assert done.stderr.endswith("run: 1 of 4 digests are not those that were recorded, from 20 on\n")
    told = json.loads(done.stdout)
    assert [(one["step"], one["same"]) for one in told["digests"]] == [(14, True), (15, True), (20, False), (21, True)]
    assert told["same"] is False and told["digests"][2]["recorded"] == "0" * 16
    assert told["digests"][2]["recomputed"] not in (None, "0" * 16)
    assert contents(run) == before


@pytest.mark.long
def test_other_data_are_noticed_by_the_checkpoint_or_else_by_the_digests(run, distprop, tmp_path):
    (tmp_path / "train.csv").write_text(csv_of(odd=1))
    config = run.config.read_text()
    run.config.write_text("\n".join(
        f'train = "{tmp_path / "train.csv"}"' if line.startswith("train = ") else line for line in config.splitlines()
    ))  # fmt: skip
    done = distprop("replay", run.path, "--steps", "14:24", "-n", "2")
    assert done.returncode == 4 and "made with other data; bring that back" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(run.path.glob("replay-*"))
    shutil.rmtree(run.checkpoints)
    done = distprop("replay", run.path, "--steps", "0:10", "-n", "2")
    assert done.returncode == 9
    assert [line.split()[-1] for line in done.stdout.splitlines()[-4:]] == ["same"] + ["DIFFERENT"] * 3


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run, distprop):
    damaged = next(run.checkpoints.glob("step-0000000014-*")) / "params.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = contents(run)
    done = distprop("replay", run.path, "--steps", "15:15", "-n", "1")
    assert done.returncode == 0 and f"warning: {damaged}: damaged" in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout.splitlines()[-1].endswith("same") and contents(run) == before


def test_ctrl_c_ends_a_replay_and_leaves_the_run_as_it_was(run, run_command):
    before = contents(run)
    command = [sys.executable, "-m", "distprop.cli", "replay", run.path, "--steps", f"0:{STEPS}", "-n", "2"]
    with run_command.start(command) as launcher:
        assert next(launcher.stdout).startswith(f"{run.path}, steps 0 to {STEPS}: 2 ranks")
        launcher.send_signal(signal.SIGINT)
        _, errors = launcher.communicate(timeout=250)
    if launcher.returncode == 75:
        assert errors == f"replay stopped; {run.path} is as it was\n"
    else:
        assert launcher.returncode in (0, 130), errors  # it was done already, or had hardly begun
    assert {path: content for path, content in contents(run).items() if path.name != ".lock"} == {
        path: content for path, content in before.items() if path.name != ".lock"
    }


def test_under_an_mpirun_it_says_once_that_it_starts_its_own(run, run_command, mpirun):
    done = run_command([*mpirun(2), sys.executable, "-m", "distprop.cli", "replay", run.path, "--steps", "0:5"])
    assert done.returncode != 0 and "distprop replay starts its ranks itself: start it outside" in done.stderr
    assert contents(run) and not list(run.path.glob("replay-*"))


@pytest.mark.parametrize("steps", ["5", "5:", ":5", "6:5", "-1:5", "a:b", "1:2:3", "1.0:2", "٣:٤"])
def test_steps_that_are_no_range_are_one_line(run, capsys, steps):
    assert main(["replay", str(run.path), f"--steps={steps}"]) == 2
    error = capsys.readouterr().err
    assert f"'{steps}' is not of the form A:B with A <= B, such as 0:500" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ("0:41", "has done 40 steps (got --steps 0:41, expected at most 40)"),
        ("1:4", "no digest is recorded in steps 1 to 4; the nearest are those of 0 and 5"),
        ("36:39", "the nearest are those of 35 and 40"),
    ],
)
def test_steps_in_which_there_is_nothing_to_compare_are_one_line(run, capsys, steps, text):
    before = contents(run)
    assert main(["replay", str(run.path), "--steps", steps, "-n", "1"]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and contents(run) == before


def test_a_run_without_digests_and_a_folder_without_a_run_are_one_line(run, capsys, tmp_path):
    change_metrics(run, lambda record: {key: value for key, value in record.items() if key != "digest"})
    assert main(["replay", str(run.path), "--steps", "0:5"]) == 2
    assert "no digest of parameters is recorded" in capsys.readouterr().err
    assert main(["replay", str(tmp_path), "--steps", "0:5"]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_a_run_that_was_resumed_has_each_digest_once(run, distprop):
    whole = [record for record in run.read_metrics() if record.get("digest")]
    run.clear_outcome()
    for folder in run.checkpoints.glob("*"):
        if int(folder.name[5:15]) > 35:
            shutil.rmtree(folder)
    change_metrics(run, lambda record: record if record["step"] <= 35 else None)
    assert distprop("resume", run.path, "-n", "1").returncode == 0
    again = [record for record in run.read_metrics() if record.get("digest")]

    def told(records):
        return sorted((record["kind"], record["step"], record["digest"]) for record in records)

    assert told(again) == told(whole)
