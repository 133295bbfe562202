"""One set of checks for serial, threads and MPI ranks."""

import sys

import numpy as np
import pytest

from distprop.comm.pool import CHUNK, Pool
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


@pytest.mark.parametrize("machines", [[1], [3], [2, 1]], ids=str)
def test_a_pool_gives_the_ranks_of_a_machine_the_same_arrays(machines):
    shapes = [(3, 5), (0, 4), (7,), (CHUNK // 8, 3), (1, 1), (2, 2)]

    def work(comm):
        pool = Pool(comm)
        arrays = [pool.zeros(shape, dtype) for shape in shapes for dtype in (np.float32, np.float64)]
        for array in arrays:
            assert array.shape in shapes and not array.any()
            assert array.ctypes.data % 8 == 0 and array.flags.c_contiguous and array.flags.writeable
        comm.barrier()
        first = sum(machines[: machine_of(comm)])
        if comm.rank == first:
            for number, array in enumerate(arrays, start=1):
                array[...] = number
        comm.barrier()
        return [np.unique(array).tolist() for array in arrays if array.size]

    def machine_of(comm):
        return next(n for n in range(len(machines)) if comm.rank < sum(machines[: n + 1]))

    expected = [[n] for n, shape in enumerate([shape for shape in shapes for _ in range(2)], start=1) if 0 not in shape]
    assert run_ranks(sum(machines), work, machines=machines) == [expected] * sum(machines)
