"""Rows of a data set brought together, from every kind of source."""

import numpy as np
import pytest

from distprop.kernels.gather import gather_labels, gather_rows, gather_values, one_hot_rows

INDICES = np.array([4, 0, 4, 6, 1], np.int64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("source_type", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("features", [1, 3, 17, 130])
def test_rows_are_gathered_and_converted(source_type, dtype, features):
    source = (np.random.default_rng(0).random((7, features)) * 255).astype(source_type)
    source.flags.writeable = False
    rows = np.full((5, features), np.nan, dtype)
    gather_rows(rows, source, INDICES)
    assert np.array_equal(rows, source[INDICES].astype(dtype))


def test_rows_come_from_a_read_only_memory_map(tmp_path):
    np.save(tmp_path / "features.npy", np.arange(21, dtype=np.float32).reshape(7, 3))
    source = np.load(tmp_path / "features.npy", mmap_mode="r")
    rows = np.full((5, 3), np.nan, np.float32)
    gather_rows(rows, source, INDICES)
    assert np.array_equal(rows, source[INDICES])


@pytest.mark.parametrize("source_type", [np.int32, np.int64, np.uint8])
def test_labels_are_gathered_as_int32(source_type):
    labels = np.full(5, -1, np.int32)
    gather_labels(labels, np.arange(10, 17).astype(source_type), INDICES)
    assert labels.tolist() == [14, 10, 14, 16, 11]


def test_weights_are_gathered():
    weights = np.full(5, np.nan, np.float32)
    gather_values(weights, np.arange(7) / 8, INDICES)
    assert weights.tolist() == [0.5, 0, 0.5, 0.75, 0.125]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_one_hot_row_is_one_at_its_label(dtype):
    rows = np.full((4, 3), np.nan, dtype)
    one_hot_rows(rows, np.array([2, 0, 1, 2], np.int32))
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
