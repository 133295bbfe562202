"""What every communicator must do, as checks that each rank calls; as a program: on the ranks of an mpirun.

Every expected value is computed from the rank's number alone, without communication.
"""

import sys
import time
import traceback

import numpy as np

from distprop.comm.communicator import Message

LIMIT_S = 30.0

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


def check_traffic(comm):
    """Every rank sends to all others, in two exchanges that are under way at the same time, again and again."""
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    if not others:
        return
    for dtype in DTYPES:
        sent = [[np.zeros(7, dtype) for _ in others] for _ in range(2)]
        got = [[np.zeros(7, dtype) for _ in others] for _ in range(2)]
        both = [
            comm.traffic(
                [Message(rank, tag, array) for rank, array in zip(others, sent[tag], strict=True)],
                [Message(rank, tag, array) for rank, array in zip(others, got[tag], strict=True)],
            )
            for tag in range(2)
        ]
        for turn in range(3):
            for tag, traffic in enumerate(both):
                for array in sent[tag]:
                    array[:] = values(comm.rank, 7, dtype, 2 * turn + tag)
                assert traffic.has_arrived()  # nothing is under way
                traffic.start()
            for tag, traffic in reversed(list(enumerate(both))):
                if tag == 0:
                    until = time.monotonic() + LIMIT_S
                    while not traffic.has_arrived():
                        assert time.monotonic() < until
                traffic.wait()
                traffic.wait()
                assert traffic.has_arrived()
                for rank, array in zip(others, got[tag], strict=True):
                    assert np.array_equal(array, values(rank, 7, dtype, 2 * turn + tag))


def check_allreduce(comm):
    for dtype in DTYPES:
        for length in LENGTHS:
            vector = values(comm.rank, length, dtype)
            comm.allreduce(vector)
            assert np.array_equal(vector, sum(values(rank, length, dtype) for rank in range(comm.size)))


def ranks_here(comm):
    """The ranks of this rank's machine."""
    first = 0
    for count in comm.machines:
        if comm.rank < first + count:
            return range(first, first + count)
        first += count
    raise AssertionError(f"rank {comm.rank} is on none of the machines {comm.machines}")


def check_shared_zeros(comm):
    assert sum(comm.machines) == comm.size and comm.shares_memory == (len(comm.machines) == 1)
    here = ranks_here(comm)
    for dtype in DTYPES:
        array = comm.shared_zeros((len(here), 5), dtype)
        assert array.shape == (len(here), 5) and array.dtype == dtype and not array.any()
        comm.barrier()
        array[comm.rank - here.start] = values(comm.rank, 5, dtype)
        comm.barrier()
        assert np.array_equal(array, np.stack([values(rank, 5, dtype) for rank in here]))
        comm.barrier()


def check_offers_are_taken_before_they_change(comm):
    """A rank that goes on at once and overwrites its buffer disturbs nobody."""
    out = np.zeros((comm.size, 3))
    for turn in range(20):
        mine = np.full(3, 10.0 * turn + comm.rank)
        comm.allgather(mine, out)
        mine[:] = np.nan
        assert out[:, 0].tolist() == [10.0 * turn + rank for rank in range(comm.size)]


def messages_move_while_a_rank_computes(comm):
    """More than fits into buffers on the way, and nobody calls MPI: only what `traffic` has of its own."""
    peer = comm.size - 1 - comm.rank
    if peer == comm.rank:
        return
    sent, got = np.full(1_000_000, comm.rank + 1.0), np.zeros(1_000_000)
    traffic = comm.traffic([Message(peer, 5, sent)], [Message(peer, 5, got)])
    traffic.start()
    until = time.monotonic() + LIMIT_S
    while not np.all(got == peer + 1):
        assert time.monotonic() < until
        time.sleep(0)  # the cores may be too few
    traffic.wait()


CHECKS = {name: check for name, check in globals().items() if name.startswith("check_")}


def main():
    from distprop.comm.mpi import Mpi, abort

    comm = Mpi()
    try:
        for check in CHECKS.values():
            check(comm)
        messages_move_while_a_rank_computes(comm)
    except BaseException:
        traceback.print_exc()
        abort(1)
    if comm.rank == 0:
        print(f"{len(CHECKS)} checks on {comm.size} ranks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
