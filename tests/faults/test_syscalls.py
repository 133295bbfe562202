"""R2: a crash or an error at every call that writing a checkpoint makes. Nothing that was there is lost."""

import json
import shutil
import sys

import pytest

LIMIT_S = 280.0  # seconds are enough, unless the machine is very slow
SHORT = ("usual:exit", "usual:ENOSPC", "replaced:exit")
LONG = ("exit", "ENOSPC", "EIO", "EINTR", "EROFS", "EDQUOT", "EACCES", "EMFILE", "ESTALE")


def outcomes(run_command, faults, memory, kinds):
    command = [sys.executable, faults.programs / "saving.py", memory / "checkpoints", *kinds]
    done = run_command(command, timeout_s=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge(found):
    points = sum(one["points"] for one in found)
    print(f"{points} points")
    assert [problem for one in found for problem in one["problems"]] == []
    assert all(one["points"] >= 40 for one in found), found  # open, write, fsync, close of four files alone are 20
    return points


def test_a_crash_or_a_full_disk_at_any_call_loses_nothing(run_command, faults, memory):
    assert judge(outcomes(run_command, faults, memory, SHORT)) >= 140


@pytest.mark.long
@pytest.mark.parametrize("fault", LONG)
def test_a_crash_or_an_error_of_any_kind_at_any_call_loses_nothing(run_command, faults, memory, fault):
    assert judge(outcomes(run_command, faults, memory, [f"usual:{fault}", f"replaced:{fault}"])) >= 100


@pytest.mark.long
@pytest.mark.parametrize("fault", ["KILL", "ENOSPC", "EIO", "EINTR"])
def test_a_kill_or_an_error_at_any_system_call_loses_nothing(run_command, faults, memory, fault):
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt-get install strace")
    command = [sys.executable, faults.programs / "traced.py", memory / "checkpoints", fault]
    done = run_command(command, timeout_s=LIMIT_S)
    assert done.returncode == 0, done.stderr
    if done.stdout.strip() == "can't trace":
        pytest.skip("strace may not trace here")
    assert judge(json.loads(done.stdout)) >= 100
