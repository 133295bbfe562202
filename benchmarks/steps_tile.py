"""The rate of the register tile on data in the first cache: the limit that a training step's products can reach.

A product that fits into the first cache is repeated from compiled code, so that no call from Python is in the time.
"""

import time

import numba
import numpy as np

from distprop.kernels import dense

SHAPE = (96, 64, 64)  # rows, inputs, outputs: 64 KB in all, of which a tile needs 17 KB at a time
CALLS, RUNS = 200, 50
IDENTITY = dense.FUSED["identity"]


@numba.njit(nogil=True)
def _repeat(calls, y, x, w, b, scratch):
    for _ in range(calls):
        dense.dense_forward(y, x, w, b, IDENTITY, scratch)


def tile_gflops() -> float:
    """The best of many short runs, on this thread's core, in 10^9 float32 operations a second."""
    n, i, o = SHAPE
    random = np.random.default_rng(0)
    x, w, b = (random.standard_normal(shape, dtype=np.float32) for shape in ((n, i), (i, o), (o,)))
    y, scratch = np.empty((n, o), np.float32), np.empty(dense.scratch_elements(n, i, o, 1, "float32"), np.float32)
    _repeat(1, y, x, w, b, scratch)
    times = []
    for _ in range(RUNS):
        begin = time.thread_time()
        _repeat(CALLS, y, x, w, b, scratch)
        times.append(time.thread_time() - begin)
    return 2e-9 * n * i * o * CALLS / min(times)
