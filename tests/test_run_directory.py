"""The run directory: what one side writes the other one reads, whole or not at all."""

import json
import math
import subprocess
import sys

import pytest

from distprop.errors import UsageError
from distprop.run_directory import RunDirectory, next_free


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def test_runs_of_the_same_name_get_numbers(tmp_path):
    paths = [RunDirectory.create_named("digits", tmp_path / "runs").path.name for _ in range(3)]
    assert paths == ["digits", "digits-2", "digits-3"]
    assert next_free("digits", tmp_path / "runs").name == "digits-4"


def test_a_folder_that_holds_a_run_is_refused_with_the_way_to_resume_it(run):
    run.config.write_text("")
    with pytest.raises(UsageError, match=f"distprop resume {run.path}"):
        RunDirectory.create(run.path)


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="not empty"):
        RunDirectory.create(tmp_path)


def test_an_empty_folder_becomes_a_run(tmp_path):
    run = RunDirectory.create(tmp_path)
    assert run.checkpoints.is_dir() and run.logs.is_dir()


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="can't make a folder"):
        RunDirectory.create(tmp_path / "file" / "run")
    with pytest.raises(UsageError, match="can't make a folder"):
        RunDirectory.create_named("run", tmp_path / "file")


@pytest.mark.parametrize("name", ["run", "absent"])
def test_opening_what_is_no_run_says_so(run, name):
    with pytest.raises(UsageError, match=r"no run|no such folder"):
        RunDirectory.open(run.path.parent / name)


def test_metrics_come_back_with_null_for_what_is_not_finite(run):
    run.append_metrics({"kind": "step", "step": 1, "loss": math.nan, "layers": [math.inf, 2.0], "by": {"a": -math.inf}})
    assert run.read_metrics() == [{"kind": "step", "step": 1, "loss": None, "layers": [None, 2.0], "by": {"a": None}}]
    assert "NaN" not in run.metrics.read_text()


def test_a_line_that_is_cut_short_is_not_read_and_is_read_once_it_is_whole(run):
    run.append_metrics({"step": 1})
    with run.metrics.open("a") as file:
        file.write('{"step"')
    records, offset = run.read_metrics_from(0)
    assert records == [{"step": 1}]
    with run.metrics.open("a") as file:
        file.write(": 2}\n")
    assert run.read_metrics_from(offset)[0] == [{"step": 2}]


def test_truncated_metrics_end_at_the_step_and_take_new_lines(run):
    for step in range(5):
        run.append_metrics({"step": step})
    with run.metrics.open("a") as file:
        file.write('{"step": 5, "lo')
    run.truncate_metrics(2)
    run.append_metrics({"step": 3})
    assert [record["step"] for record in run.read_metrics()] == [0, 1, 2, 3]


def test_metrics_of_a_run_that_has_none_are_empty(run):
    run.truncate_metrics(0)
    assert run.read_metrics() == []


def test_a_status_is_replaced_and_carries_the_time(run):
    assert run.read_status() is None
    run.write_status({"phase": "starting"})
    run.write_status({"phase": "training", "loss": math.nan})
    status = run.read_status()
    assert status["phase"] == "training" and status["loss"] is None and status["time"] > 1e9
    assert list(run.path.glob(".status*")) == []


def test_failures_come_in_the_order_of_time(run):
    for rank in (3, 0, 2):
        run.write_failure(rank, "ValueError", "text", 1)
    assert [failure.rank for failure in run.failures()] == [3, 0, 2]
    run.write_status({"phase": "done"})
    run.clear_outcome()
    assert run.failures() == [] and run.read_status() is None


def test_a_run_is_trained_by_one_process_at_a_time(run):
    code = f"""if True:
        from pathlib import Path
        from distprop.run_directory import RunDirectory
        with RunDirectory(Path({str(run.path)!r})).held():
            pass
    """
    with run.held():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
        assert "being trained by another process" in done.stderr
    subprocess.run([sys.executable, "-c", code], timeout=250, check=True)


def test_every_line_of_metrics_is_one_json_object(run):
    run.append_metrics({"step": 1, "text": "two\nlines"})
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [1]


def test_damaged_lines_and_a_damaged_status_are_left_out(tmp_path):
    run = RunDirectory.create(tmp_path / "run")
    run.append_metrics({"kind": "epoch", "step": 1})
    with run.metrics.open("ab") as file:
        file.write(b"\xff\n[1]\n{}\n" + b"{" * 9 + b"\n")
    run.append_metrics({"kind": "epoch", "step": 2})
    assert [record["step"] for record in run.read_metrics()] == [1, 2]
    for text in ("", "x", "[]", "{}"):
        run.status.write_text(text)
        assert run.read_status() is None


def test_a_digest_of_the_state_that_a_resumed_run_starts_from_is_dropped_as_it_is_told_again(run):
    records = [{"kind": kind, "step": step} for step in (5, 10) for kind in ("digest", "step", "checkpoint")]
    for record in records:
        run.append_metrics(record)
    run.truncate_metrics(10)
    assert run.read_metrics() == [record for record in records if record != {"kind": "digest", "step": 10}]
