"""Statistics against exact fractions: right to the last digits, and untouched by how the data are held."""

import math
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from distprop.data.array_file import ArrayWriter
from distprop.data.blocks import ArrayBlocks, FileBlocks
from distprop.data.encoding import Target
from distprop.data.statistics import block_rows, describe, mean_of_present, tree_sum
from distprop.errors import DataError

VALUES = Target(("y",), "values", (), 1)


def exact(column: np.ndarray) -> tuple[float, float]:
    """Mean and population deviation by rational arithmetic."""
    numbers = [Fraction(float(number)) for number in column]
    mean = sum(numbers) / len(numbers)
    variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    return float(mean), math.sqrt(variance)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 4095, 4096, 4097, 9001])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_mean_and_deviation_are_those_of_exact_arithmetic(rows: int, dtype: type) -> None:
    rng = np.random.default_rng(rows)
    x = (rng.standard_normal((rows, 2)) * 50 + 120).clip(0, 255).astype(dtype)
    found = describe(ArrayBlocks(x), None, None, VALUES)
    for feature in range(2):
        mean, deviation = exact(x[:, feature])
        assert found.mean[feature] == pytest.approx(mean, rel=1e-15)
        assert found.deviation[feature] == pytest.approx(deviation or 1.0, rel=1e-13)
    mean, deviation = exact(x.reshape(-1))
    assert found.array_mean == pytest.approx(mean, rel=1e-14)
    assert found.array_deviation == pytest.approx(deviation or 1.0, rel=1e-13)


@pytest.mark.parametrize("value", [0.1, 1 / 3, -1e17, 5e-324])
def test_a_constant_feature_has_its_value_as_mean_and_deviation_one(value: float) -> None:
    found = describe(ArrayBlocks(np.full((4099, 1), value)), None, None, VALUES)
    assert (found.mean, found.deviation, found.array_deviation) == ((value,), (1.0,), 1.0)


def test_a_large_offset_does_not_swallow_the_deviation() -> None:
    x = np.array([[1e9 + 1.0], [1e9 + 2.0], [1e9 + 3.0]])
    assert describe(ArrayBlocks(x), None, None, VALUES).deviation[0] == pytest.approx(math.sqrt(2 / 3), rel=1e-14)


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.integers(-1000, 1000)))
def test_the_tree_sum_of_whole_numbers_is_exact(block: np.ndarray) -> None:
    expected = [sum(int(value) for value in column) for column in block.T]
    assert tree_sum(block.copy()).tolist() == expected


def test_the_order_of_a_tree_sum_is_the_one_that_is_written() -> None:
    # Five rows: (a + d, b + e, c), then (a + d + c, b + e), then both; floating point tells the order.
    a, b, c, d, e = 1e16, 1.0, 1.0, -1e16, 3.0
    assert tree_sum(np.array([[a], [b], [c], [d], [e]])).item() == ((a + d) + c) + (b + e)
    a, b, c = 1.0, 1e16, 1.0
    assert tree_sum(np.array([[a], [b], [c]])).item() == (a + c) + b


@settings(max_examples=20)
@given(st.integers(1, 3000), st.data())
def test_chosen_rows_of_a_file_give_the_bits_of_those_rows_in_memory(count: int, data: st.DataObject) -> None:
    x = np.random.default_rng(count).standard_normal((count, 3)).astype(np.float32)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))), np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        with ArrayWriter(path, (3,), np.float32) as file:
            for block in np.array_split(x, 4):
                file.append(block)
        np.testing.assert_array_equal(np.load(path), x)
        from_file = describe(FileBlocks(path, rows), None, None, VALUES)
    assert from_file == describe(ArrayBlocks(x[rows]), None, None, VALUES)


def test_the_mean_of_present_values_leaves_missing_ones_out() -> None:
    x = np.array([[np.nan, 1.0, np.nan], [2.0, np.nan, np.nan], [5.0, 4.0, np.nan]])
    mean, count = mean_of_present(ArrayBlocks(x))
    assert mean.tolist() == [3.5, 2.5, 0.0] and count.tolist() == [2, 2, 0]


def test_class_counts_and_target_means_are_over_the_given_rows() -> None:
    x, labels = np.ones((5, 1)), np.array([2, 0, 2, 2, 0], np.int32)
    classes = Target(("y",), "classes", ("a", "b", "c"), 3)
    assert describe(ArrayBlocks(x), ArrayBlocks(labels), None, classes).class_counts == (2, 0, 3)
    targets = np.array([[1.0, 2], [2, 3], [6, 4]])
    assert describe(ArrayBlocks(x[:3]), None, ArrayBlocks(targets), VALUES).target_mean == (3.0, 3.0)


def test_data_without_a_finite_variance_are_refused() -> None:
    with pytest.raises(DataError, match="overflows"):
        describe(ArrayBlocks(np.array([[1e200], [-1e200]])), None, None, VALUES)


def test_blocks_get_smaller_for_wide_samples_only() -> None:
    assert [block_rows(width) for width in (1, 512, 784, 2**21, 2**30)] == [4096, 4096, 2674, 1, 1]
