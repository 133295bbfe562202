"""How fast messages are between ranks: the time of a small one, what further ones add, and the bytes a second."""

import time
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from distprop.comm.communicator import Communicator, Message

SMALL_BYTES, LARGE_BYTES = 8, 1 << 20
SMALL_ROUNDS, LARGE_ROUNDS = 200, 10
WARM_ROUNDS = 5
MANY = 33


class Speed(NamedTuple):
    """Of messages between two ranks, which both send at once. one, other: the ranks."""

    one: int
    other: int
    latency_s: float
    each_s: float  # that each further one of many small ones adds
    bytes_per_s: float


def measure(comm: Communicator) -> list[Speed]:
    """Of a pair of ranks for each pair of machines, and of one on each machine that has two: a collective."""
    found = np.zeros((comm.size, 3))
    speeds = []
    for one, other in _pairs(comm.machines):
        mine = np.zeros(3)
        comm.barrier()
        if comm.rank in (one, other):
            peer = one + other - comm.rank
            mine[0] = _seconds(comm, peer, SMALL_BYTES, SMALL_ROUNDS)
            mine[1] = max(_seconds(comm, peer, SMALL_BYTES, SMALL_ROUNDS, MANY) - mine[0], 0) / (MANY - 1)
            mine[2] = LARGE_BYTES / _seconds(comm, peer, LARGE_BYTES, LARGE_ROUNDS)
        comm.allgather(mine, found)
        speeds.append(Speed(one, other, *found[one].tolist()))
    return speeds


def _pairs(machines: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """machines: how many ranks each has."""
    firsts = list(accumulate((0, *machines)))[:-1]
    for number, (first, count) in enumerate(zip(firsts, machines, strict=True)):
        if count > 1:
            yield first, first + 1
        yield from ((first, other) for other in firsts[number + 1 :])


def _seconds(comm: Communicator, peer: int, size: int, rounds: int, messages: int = 1) -> float:
    """Of a round in which each sends messages of so many bytes to the other: the median."""
    sent, received = np.zeros((messages, size), np.uint8), np.zeros((messages, size), np.uint8)
    traffic = comm.traffic(*([Message(peer, tag, row) for tag, row in enumerate(rows)] for rows in (sent, received)))
    seconds = []
    for _ in range(WARM_ROUNDS + rounds):
        began = time.perf_counter()
        traffic.start()
        traffic.wait()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[WARM_ROUNDS:]))
