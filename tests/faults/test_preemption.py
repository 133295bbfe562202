"""A run is asked to stop at any moment, by each signal: it keeps all its steps, and goes on with the same model."""

import random
import signal
import time

import pytest

STOPS = 40  # in the long tests
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def preempt(paced, run_command, seed):
    """Stop a run at a random moment, once or twice, and resume it. Returns the exit codes."""
    draw = random.Random(seed)
    name, codes, stopped = f"stop-{seed}", [], None
    command = paced.command("train", "paced.toml", "-n", str(draw.choice([1, 2, 3])), "--run", name)
    run = paced.run(name)
    for _ in range(draw.choice([1, 2])):
        number, moment = draw.choice(SIGNALS), draw.uniform(0, paced.seconds)
        print(f"seed {seed}: {command[-3:]}, {number.name} after {moment:.2f} s")
        with run_command.start(command, folder=paced.folder) as launcher:
            time.sleep(moment)
            launcher.send_signal(number)
            output, errors = launcher.communicate(timeout=200)
        codes.append(launcher.returncode)
        if launcher.returncode == 0:
            break
        status = run.read_status() if run.config.exists() else None
        if status and status["phase"] == "done":  # the signal came while Python ended: all had been said
            assert launcher.returncode in (-number, 130) and status["digest"] in output, output + errors
            break
        if launcher.returncode in (-number, 130):  # not yet listening: nothing had begun
            assert status == stopped, output + errors
        else:
            assert launcher.returncode == 75, output + errors
            assert "Traceback" not in errors and ("continue with" in errors or "the same command" in errors)
        stopped = status
        if run.config.exists():
            command = paced.command("resume", name, "-n", str(draw.choice([1, 2, 3])))
    else:
        done = run_command(command, folder=paced.folder)
        assert done.returncode == 0, done.stderr
        if stopped and stopped["phase"] == "stopped":
            assert run.read_status()["start_step"] == stopped["step"]  # no step is lost
    assert paced.digest(name) == paced.golden and not paced.incidents(name)
    return codes


@pytest.mark.parametrize("number", range(1))
def test_a_run_that_is_stopped_at_any_moment_loses_no_step(paced, run_command, faults, number):
    preempt(paced, run_command, faults.seed + number)


@pytest.mark.long
@pytest.mark.parametrize("number", range(STOPS))
def test_many_runs_that_are_stopped_at_any_moment_lose_no_step(paced, run_command, faults, number):
    preempt(paced, run_command, faults.seed + 100 + number)


def stop_twice(paced, run_command, ranks_of, name, pause_s):
    """Ctrl-C, and again while a rank can't stop. Returns the exit code, and how long the second took."""
    with run_command.start(
        paced.command("train", "paced.toml", "-n", "2", "--run", name), folder=paced.folder
    ) as launcher:
        while not (paced.run(name).read_status() or {}).get("step"):
            time.sleep(0.01)
        ranks_of()[1].send_signal(signal.SIGSTOP)
        launcher.send_signal(signal.SIGINT)
        next(line for line in launcher.stdout if "Ctrl-C again" in line)
        time.sleep(pause_s)
        began = time.monotonic()
        launcher.send_signal(signal.SIGINT)
        launcher.communicate(timeout=100)
        return launcher.returncode, time.monotonic() - began


def test_a_second_request_ends_what_can_not_stop(paced, run_command, ranks_of):
    assert stop_twice(paced, run_command, ranks_of, "twice", 0.0)[0] == 130


@pytest.mark.measured
@pytest.mark.parametrize("pause_s", [0.0, 0.5, 2.0])
def test_a_second_request_ends_all_within_3_seconds(paced, run_command, ranks_of, pause_s):
    code, seconds = stop_twice(paced, run_command, ranks_of, f"timed-twice-{pause_s}", pause_s)
    assert code == 130 and seconds < 3.0
