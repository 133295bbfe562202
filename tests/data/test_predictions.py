"""Files of predictions: complete or not there, with numbers that come back bit for bit."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from distprop.data.encoding import Column, Encoding, Target
from distprop.data.predictions import write_predictions
from distprop.errors import UsageError


def encoding(target: Target) -> Encoding:
    return Encoding((Column("x", "number"),), (1,), target)


CLASSES = encoding(Target(("y",), "classes", ("no", 'per, "haps"', "yes"), 3))
VALUES = encoding(Target(("height", "width"), "values", (), 2))


def rows_of(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_probabilities_come_back_from_csv_bit_for_bit(dtype: type, tmp_path: Path) -> None:
    probabilities = np.random.default_rng(0).dirichlet([1, 0.001, 1], 57).astype(dtype)
    path = tmp_path / "p.csv"
    assert write_predictions(path, CLASSES, np.array_split(probabilities, 5)) == 57
    header, *rows = rows_of(path)
    assert header == ["prediction", "probability_no", 'probability_per, "haps"', "probability_yes"]
    np.testing.assert_array_equal(np.array([row[1:] for row in rows]).astype(dtype), probabilities)
    assert [row[0] for row in rows] == [CLASSES.target.classes[int(n)] for n in probabilities.argmax(axis=1)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.csv"]


def test_values_are_under_the_names_of_the_targets(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", VALUES, [np.array([[1.5, -2e-9]], np.float32)])
    assert rows_of(tmp_path / "p.csv") == [["height", "width"], ["1.5", "-2e-09"]]


def test_one_output_for_two_classes_is_the_probability_of_the_second(tmp_path: Path) -> None:
    two = encoding(Target(("y",), "classes", ("no", "yes"), 2))
    chunk = np.array([[0.25], [0.75], [0.5]])
    write_predictions(tmp_path / "p.csv", two, [chunk])
    assert rows_of(tmp_path / "p.csv")[1:] == [
        ["no", "0.75", "0.25"],
        ["yes", "0.25", "0.75"],
        ["no", "0.5", "0.5"],
    ]
    write_predictions(tmp_path / "p.npy", two, [chunk])
    assert np.load(tmp_path / "p.npy").tolist() == [[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]


def test_an_array_file_holds_the_numbers_of_all_chunks(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal((11, 2)).astype(np.float32)
    assert write_predictions(tmp_path / "p.npy", VALUES, np.array_split(numbers, 3)) == 11
    found = np.load(tmp_path / "p.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize("name", ["p.csv", "p.npy"])
def test_a_failure_half_way_leaves_the_older_file_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("older")

    def chunks() -> Iterator[np.ndarray]:
        yield np.ones((3, 2))
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        write_predictions(path, VALUES, chunks())
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, message in {"p.txt": ".csv or .npy", "no/p.csv": "no folder", "folder.csv": "is a folder"}.items():
        with pytest.raises(UsageError, match=message):
            write_predictions(tmp_path / name, VALUES, [])
