"""An mpirun that lies about how its ranks ended: only what the ranks have recorded counts."""

import random
import sys

import pytest

LIES = 30  # in the long tests


@pytest.fixture
def lying(paced, run_command, tmp_path, faults):
    """Call it for a run under an mpirun that lies so."""
    script = tmp_path / "mpirun"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {faults.programs / "mpirun.py"} "$@"\n')
    script.chmod(0o755)

    def run(lie, name, seed=0, size=2):
        print(f"{lie}, {size} ranks, seed {seed}")
        told = {"MPIRUN": str(script), "LIE": lie, "LIE_ONCE": str(tmp_path / "lied"), "SEED": str(seed)}
        command = paced.command("train", "paced.toml", "-n", str(size), "--run", name)
        return run_command(command, environment=told, folder=paced.folder)

    return run


@pytest.mark.parametrize("code", [pytest.param(1, marks=pytest.mark.long), 137])
def test_a_run_that_is_done_is_called_done(paced, lying, code):
    assert lying(f"code {code}", f"done-{code}").returncode == 0
    assert paced.digest(f"done-{code}") == paced.golden and not paced.incidents(f"done-{code}")


def test_ranks_that_are_lost_with_exit_code_0_are_started_again(paced, lying):
    assert lying("killed 0", "killed").returncode == 0
    assert len(paced.incidents("killed")) <= 1 and paced.digest("killed") == paced.golden


def test_ranks_that_never_start_are_no_success(paced, lying):
    done = lying("never 0", "never")
    assert done.returncode == 7 and "the ranks ended (mpirun: code 0) before the run was done" in done.stderr
    assert not paced.run("never").model.exists()


@pytest.mark.long
@pytest.mark.parametrize("number", range(LIES))
def test_no_lie_is_believed(paced, lying, faults, number):
    draw = random.Random(faults.seed + number)
    kind, code, size = ["code", "killed", "lost"][number % 3], draw.choice([0, 1, 9, 75, 137, 255]), draw.choice([2, 3])
    name = f"lie-{number}"
    done = lying(f"{kind} {code}", name, faults.seed + number, size)
    assert done.returncode == 0, done.stderr
    assert paced.digest(name) == paced.golden and paced.run(name).model.exists()
