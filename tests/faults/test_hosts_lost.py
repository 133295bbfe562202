"""A host of several loses its power or its link: the run goes on without it, with the same model."""

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import hosts  # noqa: E402

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())),
]


def start(paced, run_command, made, name, *options):
    places = ",".join(f"{host}:1" for host in made.names)
    command = paced.command("train", "paced.toml", "--hosts", places, "--run", name, *options)
    return run_command.start(made.on(made.names[0], command), environment=made.environment, folder=paced.folder)


def wait_for_checkpoint(paced, name, launcher):
    while not list((paced.folder / name / "checkpoints").glob("step-*")):
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.01)


def kill_all_on(made, name):
    for process in made.processes(name):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("loss", ["power", "link", "killed"])
def test_a_run_goes_on_without_a_host_that_is_lost(paced, run_command, faults, loss, which):
    name = f"lost-{loss}-{which}"
    with hosts.hosts(3) as made:
        with start(paced, run_command, made, name) as launcher:
            wait_for_checkpoint(paced, name, launcher)
            time.sleep(random.Random(faults.seed + which).uniform(0, 0.5))
            if loss != "killed":
                made.cut(made.names[which])
            lost = time.time()
            if loss != "link":
                kill_all_on(made, made.names[which])
            output, errors = launcher.communicate(timeout=200)
        assert launcher.returncode == 0, output + errors
    assert paced.digest(name) == paced.golden
    incident, *_ = paced.incidents(name)
    print(f"noticed after {incident['time'] - lost:.1f} s: {incident['reason']}")
    if loss != "killed":
        assert f"going on without {made.names[which]}, which can't be reached" in errors


def test_with_too_few_ranks_left_a_run_ends(paced, run_command):
    with hosts.hosts(2) as made:
        with start(paced, run_command, made, "too-few", "--min-ranks", "2", "--max-restarts", "1") as launcher:
            wait_for_checkpoint(paced, "too-few", launcher)
            made.cut(made.names[1])
            _, errors = launcher.communicate(timeout=200)
        assert launcher.returncode == 7
        assert "so only 1 rank could be started (launch.min_ranks)" in errors
    done = run_command(paced.command("resume", "too-few", "-n", "2"), folder=paced.folder)
    assert done.returncode == 0 and paced.digest("too-few") == paced.golden
