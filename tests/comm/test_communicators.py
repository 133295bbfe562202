"""One set of checks for serial, threads and MPI ranks."""

import sys

import pytest

from distprop.comm.serial import Serial
from distprop.comm.threads import run_ranks

NAMES = (
    "check_ranks_are_numbered",
    "check_broadcast",
    "check_allgather",
    "check_allgather_slices",
    "check_traffic",
    "check_allreduce",
    "check_shared_zeros",
    "check_offers_are_taken_before_they_change",
)


def test_every_check_is_run(collective_checks):
    assert tuple(collective_checks) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_one_rank_alone(collective_checks, name):
    collective_checks[name](Serial())


@pytest.mark.parametrize("machines", [[1], [2], [3], [5], [1, 1], [1, 1, 1, 1], [2, 1], [1, 3, 1]], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_ranks_as_threads(collective_checks, name, machines):
    run_ranks(sum(machines), collective_checks[name], machines=machines)


def test_ranks_under_mpirun(run_command, mpirun, checks_program):
    done = run_command([*mpirun(3), sys.executable, checks_program])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{len(NAMES)} checks on 3 ranks"]


def test_the_first_error_of_any_rank_ends_all(collective_checks):
    def work(comm):
        if comm.rank == 1:
            raise ValueError("the cat sat on the keyboard")
        comm.barrier()

    with pytest.raises(ValueError, match="cat"):
        run_ranks(3, work)
