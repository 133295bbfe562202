"""Real ranks under a real mpirun: how runs end, and that nothing is left of them (which `run_command` checks)."""

import re
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from distprop.errors import Interrupted
from distprop.launch import run as watch
from distprop.run_directory import RunDirectory

LAUNCHER = [sys.executable, Path(__file__).parent / "programs" / "launcher.py"]


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_a_run_shows_each_epoch_once_and_its_result(run_command, ranks):
    done = run_command([*LAUNCHER, ranks, "short"])
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[1].split("/")[0] for line in lines if line.startswith("epoch")] == ["1", "2", "3"]
    assert [line.split() for line in lines if line.startswith("digest")] == [["digest", "0123abcd"]]


def test_an_exception_on_one_rank_ends_the_run_with_its_traceback_once_and_last(run_command):
    done = run_command([*LAUNCHER, 3, "raise"])
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1 and done.stderr.count("ValueError: the cat") == 1
    assert done.stderr.splitlines()[-1] == "rank 2 ended with ValueError; the run has ended"


def test_an_error_of_ours_is_its_one_line_and_its_exit_code(run_command):
    done = run_command([*LAUNCHER, 2, "data-error"])
    assert done.returncode == 3
    assert done.stderr == "train.csv, line 18: nothing there\n"


def test_a_rank_that_is_killed_ends_the_run_with_what_mpirun_said(run_command):
    done = run_command([*LAUNCHER, 2, "die"])
    assert done.returncode == 1
    assert "before the run was done" in done.stderr and "mpirun.log" in done.stderr


def test_mpirun_that_is_killed_leaves_no_shared_memory(run_command):
    with run_command.start([*LAUNCHER, 2, "long"]) as launcher:
        wait_for_step(launcher, run_command.folder)
        ours = run_command.members(run_command.tokens)
        maps = "".join(Path(f"/proc/{process.pid}/maps").read_text() for process in ours)
        segments = {
            line.split()[-1] for line in maps.splitlines() if re.search("/dev/shm/(sm_segment|mpich_shm)", line)
        }
        mpirun = next(
            one for one in ours if one.ppid() == launcher.pid and "distprop.launch.keeper" not in one.cmdline()
        )
        folder = Path(mpirun.environ()["PRTE_MCA_prte_local_tmpdir_base"])
        assert folder.is_dir()
        mpirun.kill()
        launcher.communicate(timeout=60)
    assert launcher.returncode == 1 and segments
    assert not [segment for segment in segments if Path(segment).exists()]
    assert not folder.exists()


def test_a_full_disk_is_told_where_ranks_can_not(run_command, tmp_path, monkeypatch):
    run = RunDirectory.create(tmp_path / "run")
    run.mpirun_log.write_text("")
    monkeypatch.setattr(watch.shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    with pytest.raises(watch.RunFailedError, match="no space left on this disk; make room, then: distprop resume"):
        watch._outcome(run, watch.Stop(), 1)


def test_a_run_without_the_record_of_its_end_has_failed_whatever_mpirun_says(run_command):
    done = run_command([*LAUNCHER, 2, "silent"])
    assert done.returncode == 1 and "mpirun: code 0" in done.stderr


@pytest.mark.parametrize("behaviour", ["done-then-fail", "done-then-hang"])
def test_a_run_with_the_record_of_its_end_has_succeeded_whatever_mpirun_does(run_command, behaviour):
    done = run_command([*LAUNCHER, 2, behaviour])
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_stops_the_run_in_a_step_that_all_ranks_agree_on(run_command, number):
    with run_command.start([*LAUNCHER, 2, "long"]) as launcher:
        wait_for_step(launcher, run_command.folder)
        launcher.send_signal(number)
        output, errors = launcher.communicate(timeout=60)
    step = RunDirectory(run_command.folder / "run").read_status()["step"]
    assert launcher.returncode == 75
    assert errors == f"stopped at step {step}; continue with: distprop resume run\n"
    assert "Ctrl-C again kills" in output


def test_a_second_signal_kills_ranks_that_do_not_listen(run_command):
    with run_command.start([*LAUNCHER, 2, "deaf"]) as launcher:
        wait_for_step(launcher, run_command.folder)
        launcher.send_signal(signal.SIGINT)
        assert "stopping" in wait_for_line(launcher, "stopping")
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=60)
    assert launcher.returncode == 130
    status = RunDirectory(run_command.folder / "run").read_status()
    assert status["phase"] == "training" and status["step"] < status["steps"] / 2  # within a few of all these seconds


def test_a_signal_before_the_ranks_are_ready_ends_them_at_once(run_command):
    with run_command.start([*LAUNCHER, 2, "early"]) as launcher:
        wait_for_line(launcher, "started")
        launcher.send_signal(signal.SIGTERM)
        launcher.communicate(timeout=60)
    assert launcher.returncode in (75, -signal.SIGTERM)  # the latter if it was not yet listening itself


@pytest.mark.parametrize("phase", [None, "starting", "training"])
def test_ranks_that_become_ready_while_they_are_ended_were_stopped_too(tmp_path, phase):
    run = RunDirectory.create(tmp_path / "run")
    if phase:
        run.write_status({"phase": phase, "step": 0})
    with pytest.raises(Interrupted, match="stopped at step 0"):
        watch._outcome(run, watch.Stop(requests=1), -signal.SIGTERM)


def test_mpirun_that_can_not_be_started_is_one_line(run_command, tmp_path):
    code = (
        "from pathlib import Path; from distprop.launch.command import Command\n"
        "from distprop.launch.processes import start_processes\n"
        "start_processes(Command(('/no/such/mpirun',), {}), Path('log'))"
    )
    done = run_command([sys.executable, "-c", code])
    assert "/no/such/mpirun: can't be started: No such file or directory" in done.stderr.splitlines()[-1]


def wait_for_line(process, start):
    """The next line of a process's output that starts so."""
    return next(line for line in process.stdout if line.startswith(start))


def wait_for_step(process, folder):
    """Until the ranks compute: the launcher then shows their first epoch."""
    wait_for_line(process, "epoch")
    assert RunDirectory(folder / "run").read_status()["phase"] == "training"
