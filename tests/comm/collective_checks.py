"""What every communicator must do, as checks that each rank calls; as a program: on the ranks of an mpirun.

Every expected value is computed from the rank's number alone, without communication.
"""

import sys
import traceback

import numpy as np

DTYPES = (np.float32, np.float64, np.int64)
LENGTHS = (0, 1, 7, 64)


def values(owner, length, dtype, part=0):
    """Numbers that tell rank, part and place."""
    return (1000 * (owner + 1) + 100 * part + np.arange(length)).astype(dtype)


def uneven_cuts(size, length):
    """Slices of different lengths, the first one empty where there are several ranks."""
    weights = [rank * (rank + 1) // 2 for rank in range(size + 1)]
    return [length * weight // max(weights[-1], 1) for weight in weights[:-1]] + [length]


def check_ranks_are_numbered(comm):
    everyone = np.full((comm.size, 1), -1, np.int64)
    comm.allgather(np.array([comm.rank]), everyone)
    assert everyone[:, 0].tolist() == list(range(comm.size))


def check_broadcast(comm):
    text = "größer\n" * 100
    assert comm.broadcast(text if comm.rank == 0 else "") == text
    assert comm.broadcast("" if comm.rank == 0 else "mine") == ""


def check_allgather(comm):
    for dtype in DTYPES:
        for length in LENGTHS:
            out = np.full((comm.size, length), 77, dtype)
            comm.allgather(values(comm.rank, length, dtype), out)
            assert np.array_equal(out, np.stack([values(rank, length, dtype) for rank in range(comm.size)]))


def check_allgather_slices(comm):
    for dtype in DTYPES:
        for length in LENGTHS:
            cuts = uneven_cuts(comm.size, length)
            vector = values(comm.rank, length, dtype)
            comm.allgather_slices(vector, cuts)
            for owner in range(comm.size):
                own = slice(cuts[owner], cuts[owner + 1])
                assert np.array_equal(vector[own], values(owner, length, dtype)[own])


def check_scatter_slices(comm):
    counts = [1 + (3 * rank) % 4 for rank in range(comm.size)]
    for dtype in DTYPES:
        for length in LENGTHS:
            cuts = uneven_cuts(comm.size, length)
            own = slice(cuts[comm.rank], cuts[comm.rank + 1])
            parts = np.stack([values(comm.rank, length, dtype, part) for part in range(counts[comm.rank])])
            out = np.full((sum(counts), own.stop - own.start), 77, dtype)
            comm.scatter_slices(parts, out, counts, cuts)
            owners = [(rank, part) for rank in range(comm.size) for part in range(counts[rank])]
            expected = np.stack([values(rank, length, dtype, part)[own] for rank, part in owners])
            assert np.array_equal(out, expected)


def check_allreduce(comm):
    for dtype in DTYPES:
        for length in LENGTHS:
            vector = values(comm.rank, length, dtype)
            comm.allreduce(vector)
            assert np.array_equal(vector, sum(values(rank, length, dtype) for rank in range(comm.size)))


def check_shared_zeros(comm):
    if not comm.shares_memory:
        return
    for dtype in DTYPES:
        array = comm.shared_zeros((comm.size, 5), dtype)
        assert array.shape == (comm.size, 5) and array.dtype == dtype and not array.any()
        comm.barrier()
        array[comm.rank] = values(comm.rank, 5, dtype)
        comm.barrier()
        assert np.array_equal(array, np.stack([values(rank, 5, dtype) for rank in range(comm.size)]))
        comm.barrier()


def check_offers_are_taken_before_they_change(comm):
    """A rank that goes on at once and overwrites its buffer disturbs nobody."""
    out = np.zeros((comm.size, 3))
    for turn in range(20):
        mine = np.full(3, 10.0 * turn + comm.rank)
        comm.allgather(mine, out)
        mine[:] = np.nan
        assert out[:, 0].tolist() == [10.0 * turn + rank for rank in range(comm.size)]


CHECKS = {name: check for name, check in globals().items() if name.startswith("check_")}


def main():
    from distprop.comm.mpi import Mpi, abort

    comm = Mpi()
    try:
        for check in CHECKS.values():
            check(comm)
    except BaseException:
        traceback.print_exc()
        abort(1)
    if comm.rank == 0:
        print(f"{len(CHECKS)} checks on {comm.size} ranks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
