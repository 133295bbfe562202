"""Copies past the caches: the same bytes, wherever the target lies."""

import threading

import numpy as np
import pytest

from distprop.kernels.memory import zeros
from distprop.kernels.past_caches import store_past_caches

TYPES = {np.float32: np.uint32, np.float64: np.uint64}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [0, 1, 7, 15, 16, 17, 64, 100, 1000])
@pytest.mark.parametrize("offset", [0, 1, 5, 15])
def test_every_bit_arrives_and_nothing_else_changes(size, offset, dtype):
    bits = np.random.default_rng(size).integers(0, np.iinfo(TYPES[dtype]).max, size, TYPES[dtype])  # NaN of all kinds
    memory = zeros((size + 32,), dtype)
    memory[:] = -1
    store_past_caches(memory[offset : offset + size], bits.view(dtype))
    np.testing.assert_array_equal(memory[offset : offset + size].view(TYPES[dtype]), bits)
    assert (memory[:offset] == -1).all() and (memory[offset + size :] == -1).all()


def test_another_thread_sees_all_of_it_as_soon_as_it_is_told():
    target, told = zeros((100_003,), np.float32), threading.Barrier(2, timeout=30)
    wrong = []

    def read():
        for number in range(200):
            told.wait()
            wrong.append(int((target != number).sum()))
            told.wait()

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(200):
        store_past_caches(target, np.full(target.size, number, np.float32))
        told.wait()
        told.wait()
    reader.join()
    assert wrong == [0] * 200
