"""Ranks, mpirun and the launcher are killed at any moment: a run ends by itself, or is resumed, with the same model."""

import random
import re
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from distprop.run_directory import generations

KILLS = 20  # in the long tests, with each MPI
LAUNCHERS = 20


def wait_for(condition, process):
    """Until it holds, or the process has ended."""
    while not (found := condition()) and process.poll() is None:
        time.sleep(0.01)
    return found


def newest(run):
    """Steps of the newest checkpoint."""
    return next((int(path.name.split("-")[1]) for path in generations(run.checkpoints)), 0)


def kill_a_rank(paced, run_command, ranks_of, seed):
    """Kill one rank at a random moment of a run; it must end well. Returns the incidents."""
    draw = random.Random(seed)
    size, moment, name = draw.choice([2, 3, 4]), draw.uniform(0, paced.seconds), f"kill-{seed}"
    print(f"seed {seed}: {size} ranks, after {moment:.2f} s")
    run = paced.run(name)
    with run_command.start(
        paced.command("train", "paced.toml", "-n", str(size), "--run", name), folder=paced.folder
    ) as launcher:
        time.sleep(moment)
        victims = wait_for(ranks_of, launcher)
        before = 0
        if victims:
            before = newest(run)
            with suppress(psutil.NoSuchProcess):
                victims[draw.choice(sorted(victims))].kill()
        output, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, output + errors
    assert paced.digest(name) == paced.golden
    incidents = paced.incidents(name)
    assert len(incidents) <= 1 and "Traceback" not in errors
    if incidents:  # else it had done its work; at most what came after the newest checkpoint is computed again
        assert run.read_status()["start_step"] >= before
    return incidents


@pytest.mark.parametrize("seed", range(1))
def test_a_rank_that_is_killed_at_any_moment_changes_nothing(paced, run_command, ranks_of, faults, seed):
    kill_a_rank(paced, run_command, ranks_of, faults.seed + seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(KILLS))
def test_many_ranks_that_are_killed_at_any_moment_change_nothing(paced, run_command, ranks_of, faults, seed):
    kill_a_rank(paced, run_command, ranks_of, faults.seed + 100 + seed)


def test_a_rank_that_dies_is_named_and_its_logs_are_kept(paced, run_command, ranks_of):
    arguments = paced.command("train", "paced.toml", "-n", "3", "--run", "named")
    with run_command.start(arguments, folder=paced.folder) as launcher:
        wait_for(lambda: newest(paced.run("named")), launcher)
        victim = ranks_of()[2]
        victim.kill()
        _, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0
    (warning,) = [line for line in errors.splitlines() if "starting again" in line]
    assert f"rank 2 on {socket.gethostname()} (process {victim.pid}) has died" in warning
    assert "starting again from step-" in warning and warning.endswith(": 1 of 3")
    (incident,) = paced.incidents("named")
    assert incident["kind"] == "died" and incident["restarted"]
    assert (paced.folder / "named" / "incidents" / incident["logs"] / "mpirun.log").exists()
    assert paced.digest("named") == paced.golden


@pytest.mark.long
def test_an_mpirun_that_is_killed_is_started_again(paced, run_command, ranks_of):
    arguments = paced.command("train", "paced.toml", "-n", "2", "--run", "mpirun")
    with run_command.start(arguments, folder=paced.folder) as launcher:
        wait_for(lambda: newest(paced.run("mpirun")), launcher)
        psutil.Process(ranks_of()[0].pid).parent().kill()  # MPICH's proxy, or Open MPI's mpirun
        output, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, output + errors
    assert paced.digest("mpirun") == paced.golden


@pytest.mark.long
def test_a_rank_that_crashes_leaves_its_stack(paced, run_command):
    fault = {"FAULT": '{"kind": "crash", "rank": 1, "step": 100}'}
    done = run_command(
        paced.command("train", "paced.toml", "-n", "2", "--run", "crash"), environment=fault, folder=paced.folder
    )
    assert done.returncode == 0, done.stderr
    (incident,) = paced.incidents("crash")
    log = (paced.folder / "crash" / "incidents" / incident["logs"] / "rank-1.log").read_text()
    assert "Segmentation fault" in log and "in crash" in log
    assert paced.digest("crash") == paced.golden


@pytest.mark.long
def test_a_bit_that_flips_in_one_copy_is_computed_again(paced, run_command):
    """With two ranks MPI_Allreduce has one order of each sum, so all runs are alike."""
    command = paced.command("train", "paced.toml", "-n", "2", "--set", "training.exchange=allreduce")
    fault = {"FAULT": '{"kind": "flip", "rank": 1, "step": 100}'}
    for name, environment in (("unflipped", {}), ("flipped", fault)):
        done = run_command([*command, "--run", name], environment=environment, folder=paced.folder)
        assert done.returncode == 0, done.stderr
    (incident,) = paced.incidents("flipped")
    assert "the parameters differ after step 1" in incident["reason"] and incident["restarted"]
    assert paced.digest("flipped") == paced.digest("unflipped") and not paced.incidents("unflipped")


def test_ranks_that_die_again_and_again_end_the_run_with_exit_code_7(paced, run_command, ranks_of):
    arguments = paced.command("train", "paced.toml", "-n", "2", "--run", "doomed", "--max-restarts", "2")
    with run_command.start(arguments, folder=paced.folder) as launcher:
        for _ in range(3):
            victim = wait_for(lambda: ranks_of().get(1), launcher)
            victim.kill()
            psutil.wait_procs([victim], timeout=60)
        _, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 7
    assert "gave up after 2 restarts that brought no new checkpoint" in errors.splitlines()[-1]
    assert [one["restarted"] for one in paced.incidents("doomed")] == [True, True, False]


@pytest.mark.long
def test_without_restarts_a_rank_that_dies_ends_the_run(paced, run_command, ranks_of):
    arguments = paced.command("train", "paced.toml", "-n", "2", "--run", "once", "--max-restarts", "0")
    with run_command.start(arguments, folder=paced.folder) as launcher:
        wait_for(lambda: newest(paced.run("once")), launcher)
        ranks_of()[1].kill()
        _, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 1 and "rank 1 on" in errors and "has died" in errors
    done = run_command(paced.command("resume", "once", "-n", "1"), folder=paced.folder)
    assert done.returncode == 0 and paced.digest("once") == paced.golden


def kill_the_launcher(paced, run_command, ranks_of, seed):
    """Kill the launcher at a random moment: nothing of the run is left soon, and it can be resumed."""
    draw = random.Random(seed)
    size, moment, name = draw.choice([1, 2, 3]), draw.uniform(0, paced.seconds), f"launcher-{seed}"
    print(f"seed {seed}: {size} ranks, after {moment:.2f} s")
    with run_command.start(
        paced.command("train", "paced.toml", "-n", str(size), "--run", name), folder=paced.folder
    ) as launcher:
        time.sleep(moment)
        began = wait_for((paced.folder / name / "config.toml").exists, launcher)
        if draw.random() < 0.5:
            wait_for(ranks_of, launcher)
        launcher.kill()
        launcher.communicate()
        gone_s = -time.monotonic()
        while run_command.members(run_command.tokens):
            time.sleep(0.01)
        gone_s += time.monotonic()
    assert began
    resumed = run_command(paced.command("resume", name, "-n", "2"), folder=paced.folder)
    assert resumed.returncode == 0, resumed.stderr
    assert paced.digest(name) == paced.golden
    return gone_s


@pytest.mark.parametrize("seed", range(1))
def test_of_a_launcher_that_is_killed_nothing_is_left(paced, run_command, ranks_of, faults, seed):
    assert kill_the_launcher(paced, run_command, ranks_of, faults.seed + seed) < 60


@pytest.mark.long
@pytest.mark.parametrize("seed", range(LAUNCHERS))
def test_of_many_launchers_that_are_killed_nothing_is_left(paced, run_command, ranks_of, faults, seed):
    assert kill_the_launcher(paced, run_command, ranks_of, faults.seed + 100 + seed) < 60


def test_a_launcher_that_is_killed_with_all_ranks_leaves_no_shared_memory(paced, run_command, ranks_of):
    command = paced.command("train", "paced.toml", "-n", "2", "--run", "segments")
    with run_command.start(command, folder=paced.folder) as launcher:
        wait_for(lambda: "epoch" in launcher.stdout.readline(), launcher)  # the launcher has looked before it shows one
        maps = "".join(Path(f"/proc/{rank.pid}/maps").read_text() for rank in ranks_of().values())
        segments = set(re.findall("/dev/shm/(?:sm_segment|mpich_shm)\\S+", maps))
        launcher.kill()
        for one in run_command.members(run_command.tokens):
            with suppress(psutil.NoSuchProcess):
                if "distprop.launch.keeper" not in one.cmdline():
                    one.kill()
        launcher.communicate()
        while run_command.members(run_command.tokens):
            time.sleep(0.01)
    assert segments and not [segment for segment in segments if Path(segment).exists()]


def test_without_a_keeper_ranks_notice_that_their_launcher_is_gone(paced, run_command, ranks_of):
    with run_command.start(
        paced.command("train", "paced.toml", "-n", "2", "--run", "keeperless"), folder=paced.folder
    ) as launcher:
        wait_for(lambda: newest(paced.run("keeperless")), launcher)
        ours = psutil.Process(launcher.pid).children()
        keeper = next(child for child in ours if "distprop.launch.keeper" in child.cmdline())
        keeper.kill()
        launcher.send_signal(signal.SIGKILL)
        launcher.communicate()
        while run_command.members(run_command.tokens):  # the time limit of the test would end this
            time.sleep(0.01)
