"""Ranks hang in every way: they are named, their stacks are kept, and the run ends with the same model."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

SECONDS = 3.0  # of silence, and without a step
LIMITS = ["--set", f"launch.silence_seconds={SECONDS}", "--set", f"launch.step_seconds={SECONDS}",
          "--set", f"launch.save_seconds={SECONDS}"]  # fmt: skip
ALWAYS = ("stop", "loop", "loop_in_c", "sleep", "read", "skip")
HANGS = 50  # in the long tests
ENDING_S = 60.0  # no launcher of ours waits for what an mpirun of the user's leaves behind for a moment


def hang(paced, run_command, kind, size, rank, step, name):
    """A run with a hang. Returns its one incident, and after how many seconds it was noticed."""
    print(f"{kind} on rank {rank} of {size} after step {step}")
    fault = {"FAULT": json.dumps({"kind": kind, "rank": rank, "step": step})}
    command = paced.command("train", "paced.toml", "-n", str(size), "--run", name, *LIMITS)
    done = run_command(command, environment=fault, folder=paced.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert paced.digest(name) == paced.golden
    (incident,) = paced.incidents(name)
    return incident, incident["time"] - (paced.folder / name / "fault").stat().st_mtime


def check_blame(incident, kind, size, rank):
    """The culprit alone is named; where it only left out a collective, with two ranks, both are.

    MPI may notice that by itself, if the next one is of another size.
    """
    named = [n for n in range(size) if f"rank {n} on" in incident["reason"]]
    if kind == "skip":
        assert incident["kind"] in ("apart", "stuck", "died"), incident
        assert rank in named or incident["reason"].startswith("rank "), incident
    else:
        assert named == [rank], incident
        assert incident["kind"] == ("silent" if kind in ("stop", "loop_in_c") else "stuck"), incident


def check_stacks(paced, incident, name, size):
    """Every rank has left its stack, unless it was MPI that ended them."""
    if incident["kind"] == "died":
        return
    folder = paced.folder / name / "incidents" / incident["logs"]
    for rank in range(size):
        assert "most recent call first" in (folder / f"rank-{rank}.log").read_text(), rank


@pytest.mark.parametrize("kind", ["stop", pytest.param("loop", marks=pytest.mark.long)])
def test_a_rank_that_hangs_is_named_and_the_run_goes_on(paced, run_command, kind):
    incident, _ = hang(paced, run_command, kind, 3, 1, 100, f"hang-{kind}")
    check_blame(incident, kind, 3, 1)
    check_stacks(paced, incident, f"hang-{kind}", 3)


@pytest.mark.long
def test_a_collective_of_another_size_is_noticed(paced, run_command):
    """By MPI, which raises, or by nobody's getting on."""
    done = run_command(
        paced.command("train", "paced.toml", "-n", "3", "--run", "mis-sized", *LIMITS),
        environment={"FAULT": '{"kind": "mis_size", "rank": 1, "step": 100}'},
        folder=paced.folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(paced.incidents("mis-sized")) == 1 and paced.digest("mis-sized") == paced.golden


@pytest.mark.long
@pytest.mark.parametrize("number", range(HANGS))
def test_many_ranks_that_hang_are_named(paced, run_command, faults, number):
    draw = random.Random(faults.seed + number)
    size, kind, name = draw.choice([2, 3, 4]), ALWAYS[number % len(ALWAYS)], f"hang-{number}"
    rank, step = draw.randrange(size), draw.randrange(10, 390)
    incident, seconds = hang(paced, run_command, kind, size, rank, step, name)
    check_blame(incident, kind, size, rank)
    check_stacks(paced, incident, name, size)
    print(f"noticed after {seconds:.1f} s")


@pytest.mark.measured
@pytest.mark.parametrize("kind", ALWAYS)
def test_a_hang_is_noticed_in_time(paced, run_command, kind):
    incident, seconds = hang(paced, run_command, kind, 2, 1, 100, f"timed-{kind}")
    stacks_s = 2.0  # which are written before the incident is
    assert seconds < SECONDS + 2.0 + stacks_s, incident


@pytest.mark.long
def test_a_launcher_that_is_stopped_for_a_while_kills_nobody(paced, run_command, ranks_of):
    command = paced.command("train", "paced.toml", "-n", "2", "--run", "suspended", *LIMITS)
    with run_command.start(command, folder=paced.folder) as launcher:
        while not ranks_of():
            time.sleep(0.01)
        os.kill(launcher.pid, signal.SIGSTOP)
        time.sleep(2 * SECONDS)
        os.kill(launcher.pid, signal.SIGCONT)
        output, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, output + errors
    assert not paced.incidents("suspended") and paced.digest("suspended") == paced.golden


def mutual(paced, run_command, mpirun, faults, kind, rank):
    """A hang under an mpirun of the user's; what was said."""
    run = paced.folder / f"mutual-{kind}-{rank}"
    run_command.ending_s = ENDING_S
    program = [sys.executable, faults.programs / "faulty_rank.py", "train", paced.folder / "paced.toml", "--run", run]
    done = run_command(
        [*mpirun(3), *program, *LIMITS], environment={"FAULT": json.dumps({"kind": kind, "rank": rank, "step": 100})}
    )
    assert done.returncode != 0
    resumed = run_command(paced.command("resume", run.name, "-n", "2"), folder=paced.folder)
    assert resumed.returncode == 0, resumed.stderr
    assert paced.digest(run.name) == paced.golden
    return done.stdout + done.stderr


@pytest.mark.long
def test_ranks_of_somebody_elses_mpirun_watch_rank_0(paced, run_command, mpirun, faults):
    assert "rank 0, which watches all ranks, doesn't answer" in mutual(paced, run_command, mpirun, faults, "stop", 0)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "rank"), [("stop", 2), ("loop", 0), ("loop", 1), ("loop_in_c", 1)])
def test_rank_0_watches_the_ranks_of_somebody_elses_mpirun(paced, run_command, mpirun, faults, kind, rank):
    assert f"rank {rank} on" in mutual(paced, run_command, mpirun, faults, kind, rank)


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["busy cores", "slow", "slow_disk", "cold cache"])
def test_what_is_only_slow_is_not_killed(paced, run_command, tmp_path, trouble):
    """With the limits that are there without being asked for."""
    name = f"slow-{trouble.replace(' ', '-')}"
    environment = {"FAULT": json.dumps({"kind": trouble, "rank": 0, "step": 10})} if "slow" in trouble else {}
    if trouble == "cold cache":
        environment["DISTPROP_CACHE"] = str(tmp_path)
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(16 * (trouble[0] == "b"))]
    try:
        command = paced.command("train", "paced.toml", "-n", "3", "--run", name)
        done = run_command(command, environment=environment, folder=paced.folder)
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
    assert done.returncode == 0, done.stderr
    assert not paced.incidents(name) and paced.digest(name) == paced.golden
