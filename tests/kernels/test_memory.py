"""Memory that begins at a cache line."""

import numpy as np
import pytest

from distprop.kernels.memory import LINE, zeros


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(0,), (1,), (3,), (0, 10), (5, 7), (1000, 33)])
def test_arrays_are_zeros_that_begin_at_a_cache_line(shape, dtype):
    kept = [zeros(shape, dtype) for _ in range(20)]
    for array in kept:
        assert array.shape == shape and array.dtype == dtype
        assert array.ctypes.data % LINE == 0 or array.size == 0
        assert array.flags.c_contiguous and array.flags.writeable
        assert not array.any()
        array[...] = 1
    assert all(array.all() for array in kept)


def test_arrays_do_not_overlap():
    first, second = zeros((17,), np.float32), zeros((17,), np.float32)
    first[...] = 1
    assert not second.any()
