"""The yardstick of exchange.py: python exchange_once.py OPTIMIZER WIDTHS CONVERSATION, a rank of mpirun.

A plain loop over the bytes of an exchange with update.    Shapes: L parameters of a rank's slice.
"""

import sys
import time
from pathlib import Path

import numba
import numpy as np
from conversation import Conversation
from engine import communicator
from exchange_distprop import task_of


@numba.njit(nogil=True)
def once_momentum(w, v, mine, other):
    """Reads and writes w and v (L,), reads both gradients (L,)."""
    for i in range(w.size):
        total = w[i] + v[i] + mine[i] + other[i]
        w[i] = total
        v[i] = total


@numba.njit(nogil=True)
def once_adam(w, m, v, mine, other):
    """Reads and writes w, m and v (L,), reads both gradients (L,)."""
    for i in range(w.size):
        total = w[i] + m[i] + v[i] + mine[i] + other[i]
        w[i] = total
        m[i] = total
        v[i] = total


KERNELS = {"momentum": (once_momentum, 1), "adam": (once_adam, 2)}  # and the numbers of the state's vectors


def main(optimizer: str, widths: str, conversation: Path) -> None:
    comm, (kernel, slots) = communicator(), KERNELS[optimizer]
    talk = Conversation(conversation, comm.rank)
    length = sum((inputs + 1) * outputs for inputs, outputs in task_of(optimizer, widths).layers)
    mine = slice(comm.rank * length // comm.size, (comm.rank + 1) * length // comm.size)
    params = comm.shared_zeros((length,), np.float32)[mine]
    gradients = comm.shared_zeros((comm.size, length), np.float32)[:, mine]
    state = [np.zeros(params.size, np.float32) for _ in range(slots)]

    def once() -> float:
        comm.barrier()
        begin = time.perf_counter()
        kernel(params, *state, *gradients)
        comm.barrier()
        return time.perf_counter() - begin

    talk.answer({})
    for repetitions in talk:
        talk.answer({"seconds": [once() for _ in range(repetitions)]})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
