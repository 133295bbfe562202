"""Memory that the ranks of a machine share, handed out array by array."""

import math

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Array, Communicator
from distprop.kernels.memory import LINE

CHUNK = 1 << 20  # bytes at least that are asked for at once: each time is a collective, and a file of the system's


class Pool:
    """Every rank of a communicator asks for the same arrays in the same order, and gets the same memory."""

    def __init__(self, comm: Communicator) -> None:
        self._comm = comm
        self._chunk = np.zeros(0, np.uint8)

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """As np.zeros, at the start of a cache line: a collective."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        room = -(-size // LINE) * LINE
        if room > self._chunk.size:
            self._chunk = self._comm.shared_zeros((max(room, CHUNK),), np.uint8)
        taken, self._chunk = self._chunk[:size], self._chunk[room:]
        array: Array = taken.view(dtype).reshape(shape)
        return array
