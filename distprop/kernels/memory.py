"""Memory for kernels: arrays begin at a cache line, as a vector that lies across two lines costs two accesses."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

LINE = 64  # bytes


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """As np.zeros."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    return memory[first : first + size].view(dtype).reshape(shape)
