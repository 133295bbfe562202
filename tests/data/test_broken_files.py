"""Broken data files met by Python callers; test_refused_files.py has those that the command line meets."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distprop.config.data import Columns, Data
from distprop.data.csv_table import CsvTable
from distprop.data.prepare import prepare
from distprop.data.survey import survey
from distprop.errors import DataError

IMAGES = np.arange(24.0).reshape(4, 6)

# Name: text of train.csv, options of [data], what the error has to say.
CSV: dict[str, tuple[str | bytes, dict[str, Any], tuple[str, ...]]] = {
    "empty": ("", {}, ("the file is empty",)),
    "only a header": ("a,target\n", {}, ("no rows below the header",)),
    "only blank lines": ("\n\n\n", {}, ("no rows below the header",)),
    "no target": ("a,b\n1,2\n3,4\n", {}, ('no column "target"', "a, b", "[data.columns]")),
    "misspelt target": ("a,Target\n1,2\n3,4\n", {}, ('did you mean "Target"',)),
    "misspelt feature": (
        "height,target\n1,2\n3,4\n",
        {"columns": Columns(features=("hieght",))},
        ('no column "hieght"', 'did you mean "height"'),
    ),
    "misspelt weight": ("a,w,target\n1,1,2\n", {"columns": Columns(weight="ww")}, ('no column "ww"',)),
    "categorical is no feature": (
        "a,b,target\n1,2,0\n1,2,1\n",
        {"columns": Columns(features=("a",), categorical=("b",))},
        ('"b" is listed as categorical',),
    ),
    "target is a feature too": (
        "a,target\n1,0\n2,1\n",
        {"columns": Columns(features=("a", "target"))},
        ('"target" is used twice',),
    ),
    "target is the weight too": ("a,target\n1,0\n2,1\n", {"columns": Columns(weight="target")}, ("used twice",)),
    "no feature left": ("target\n0\n1\n", {}, ("no column is left to be a feature",)),
    "column named twice": ("a,a,target\n1,2,0\n3,4,1\n", {}, ('two columns are called "a"',)),
    "column without a name": ("a,,target\n1,2,0\n3,4,1\n", {}, ("column 2 has no name",)),
    "text among numbers": (
        "age,target\n" + "30,0\n31,1\n" * 8 + "n/a,1\n",
        {},
        ('line 18, column "age": "n/a" is not a number; correct it, or add it to missing_markers',),
    ),
    "text among truths": ("a,target\ntrue,0\nfalse,1\nmaybe,1\n", {}, ('line 4, column "a": "maybe" is not true',)),
    "text among weights": (
        "a,w,target\n1,1,0\n1,x,1\n",
        {"columns": Columns(weight="w")},
        ('line 3, column "w": "x" is not a number',),
    ),
    "missing number": ("a,target\n1,0\n,1\n", {}, ('line 3, column "a": the value is missing', 'missing = "mean"')),
    "not a number": ("a,target\n1,0\nNaN,1\n", {}, ('line 3, column "a": the value is missing',)),
    "missing number, far below": ("x,target\n" + "1,0\n2,1\n" * 199_999 + ",1\n", {}, ('line 400000, column "x"',)),
    "missing category": ("a,target\nx,0\n,1\n", {}, ('line 3, column "a": the category is missing',)),
    "missing class": ("a,target\n1,0\n2,1\n3,NA\n", {"missing": "mean"}, ('line 4, column "target": the class',)),
    "missing value": (
        "a,target\n1,0.5\n2,\n",
        {"target_kind": "values", "missing": 0.0},
        ('line 3, column "target": the target is missing',),
    ),
    "infinite number": ("a,target\n1,0\ninf,1\n", {}, ('line 3, column "a": the value is infinite',)),
    "too large for float32": ("a,target\n1,0\n1e300,1\n", {}, ("line 3", "too large for float32")),
    "a fill that is too large for float32": (
        "a,target\n1,0\n,1\n",
        {"missing": 1e39},
        ('column "a": missing = 1e+39 under [data] is too large for float32',),
    ),
    "a target that is too large for float32": (
        "a,target\n1,0\n2,1e300\n",
        {"target_kind": "values"},
        ('line 3, column "target": the value is infinite, or too large for float32',),
    ),
    "a weight that is too large for float32": (
        "a,w,target\n1,1,0\n2,1e300,1\n",
        {"columns": Columns(weight="w")},
        ('line 3, column "w": the value is infinite, or too large for float32',),
    ),
    "after a quoted line break": ('a,b,target\n"x\ny",1,0\n"z",inf,1\n', {}, ('line 4, column "b"',)),
    "in a row of two lines": ('a,b,target\n"z",1,1\n"x\ny",inf,0\n', {}, ('line 3, column "b"',)),
    "after an empty line": ("a,target\n1,0\n\n\n,1\n2,1\n", {}, ('line 5, column "a"',)),
    "row too short": ("a,b,target\n1,2,0\n3,1\n", {}, ("line 3: 2 values, but the header names 3 columns",)),
    "row too long": ("a,target\n1,0\n2,1,9\n", {}, ("line 3: 3 values, but the header names 2 columns",)),
    "other delimiter": ("a;target\n1;0\n2;1\n", {}, ('set delimiter = ";"',)),
    "one class": ("a,target\n1,0\n2,0\n", {}, ("all rows are of one class (0)",)),
    "all classes missing": ("a,target\n1,\n2,\n", {}, ('column "target": the class is missing in every row',)),
    "too many categories": (
        "a,target\n" + "".join(f"name{n},{n % 2}\n" for n in range(1200)),
        {},
        ('column "a": more than 1000 categories', "drop it"),
    ),
    "too many classes": (
        "a,target\n" + "".join(f"1,{n}.5\n" for n in range(11000)),
        {},
        ("more than 10000 classes", 'target_kind = "values"'),
    ),
    "text to be predicted as values": ("a,target\n1,x\n2,y\n", {"target_kind": "values"}, ("the target holds text",)),
    "two targets of classes": (
        "a,b,c\n1,0,1\n2,1,0\n",
        {"columns": Columns(target=("b", "c"))},
        ("classes are in one column",),
    ),
    "no value to take the mean of": ("a,b,target\n,1,0\n,2,1\n", {"missing": "mean"}, ('column "a": all training',)),
    "negative weight": ("a,w,target\n1,1,0\n2,-1,1\n", {"columns": Columns(weight="w")}, ("line 3", "negative")),
    "missing weight": ("a,w,target\n1,1,0\n2,,1\n", {"columns": Columns(weight="w")}, ("line 3", "weight is missing")),
    "weights all zero": ("a,w,target\n1,0,0\n2,0,1\n", {"columns": Columns(weight="w")}, ("all weights are 0",)),
    "not UTF-8": (b"name,target\nJos\xe9,0\nAnn,1\n", {}, ("line 2: byte 0xe9 is no text in UTF-8; save",)),
    "not UTF-8, far below": (
        b"x,name,target\n" + b"1,Ann,0\n2,Bob,1\n" * 99_999 + b"3,Jos\xe9,1\n",
        {},
        ("line 200000: byte 0xe9 is no text in UTF-8",),
    ),
    "text among numbers, far below": (
        "skipped,target,x\n" + "z,0,1\nz,1,2\n" * 99_999 + "z,1,3_4\n",
        {"columns": Columns(features=("x",))},
        ('line 200000, column "x": "3_4" is not a number',),
    ),
    "UTF-16": ("a,target\n1,0\n2,1\n".encode("utf-16"), {}, ("line 1: byte 0xff is no text in UTF-8",)),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(200), {}, ("train.csv",)),
    "zero bytes": (bytes(500), {}, ("train.csv",)),
    "unclosed quote": ('a,target\n"1,0\n2,1\n', {}, ("train.csv",)),
    "overflowing variance": (
        "a,target\n1e300,0\n-1e300,1\n",
        {"dtype": "float64"},
        ("variance of the data overflows", "divide"),
    ),
}


def one_line(make: Callable[[], object], *parts: str) -> str:
    """The text of the DataError, which is one line, has all the parts, and came at once."""
    start = time.process_time()  # of the processor, whatever else it does meanwhile
    with pytest.raises(DataError) as caught:
        make()
    assert time.process_time() - start < 3
    text = str(caught.value)
    assert "\n" not in text and len(text) < 600
    for part in parts:
        assert part in text
    return text


@pytest.mark.parametrize("name", CSV)
def test_a_broken_csv_file_gives_one_line_that_names_the_place(name: str, tmp_path: Path) -> None:
    text, options, parts = CSV[name]
    path = tmp_path / "train.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    dtype = options.pop("dtype", "float32") if "dtype" in options else "float32"
    one_line(lambda: prepare(Data(train=str(path), **options), 0, dtype, tmp_path / "cache"), "train.csv", *parts)
    assert not list((tmp_path / "cache").glob("*.partial"))


@pytest.mark.parametrize("name", CSV)
def test_a_broken_validation_file_or_a_good_one_never_raises_anything_else(name: str, tmp_path: Path) -> None:
    text, _, _ = CSV[name]
    good, broken = tmp_path / "good.csv", tmp_path / "broken.csv"
    good.write_text("a,target\n1,0\n2,1\n")
    broken.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        prepared = prepare(Data(train=str(good), validation=str(broken)), 0, "float32", tmp_path / "cache")
    except DataError as error:
        assert "broken.csv" in str(error) and "\n" not in str(error)
    else:
        assert prepared.validation is not None and len(prepared.validation) > 0


def test_a_table_of_many_columns_is_looked_at_in_no_time(tmp_path: Path) -> None:
    names = [f"gene{n}" for n in range(40_000)]
    path = tmp_path / "train.csv"
    path.write_text(",".join([*names, "target"]) + "\n" + "".join("1," * len(names) + f"{n % 2}\n" for n in range(4)))
    data = Data(train=str(path), columns=Columns(features=(*names, names[-1])))
    one_line(lambda: survey(CsvTable(path, ",", ()), data), '"gene39999" is used twice')


def test_files_that_are_not_there_are_named_with_the_likely_one(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,target\n1,0\n2,1\n")
    one_line(
        lambda: prepare(Data(train=str(tmp_path / "trian.csv")), 0, "float32", tmp_path), 'did you mean "train.csv"'
    )
    one_line(lambda: prepare(Data(train=str(tmp_path)), 0, "float32", tmp_path), "this is not a file")
    one_line(lambda: prepare(Data(train=str(tmp_path / "no" / "x.csv")), 0, "float32", tmp_path), "no such file")
    np.save(tmp_path / "x.npy", IMAGES)
    one_line(
        lambda: prepare(Data(train=str(tmp_path / "x.npy")), 0, "float32", tmp_path), "give the file of the targets"
    )
    name = os.fsdecode(b"J\xf6rg.csv")
    (tmp_path / name).write_text("a,target\n1,0\n2,1\n")
    one_line(lambda: prepare(Data(train=str(tmp_path / name)), 0, "float32", tmp_path), "not text in UTF-8; rename it")
    (tmp_path / "data.xlsx").write_text("x")
    one_line(lambda: prepare(Data(train=str(tmp_path / "data.xlsx")), 0, "float32", tmp_path), ".csv", ".parquet")


def test_a_column_that_is_not_used_need_not_be_text(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n % 2},x\n" for n in range(1500)).encode()
    path = tmp_path / "train.csv"
    path.write_bytes(b"a,target,note\n" + rows + b"1,1,Jos\xe9\n")
    data = Data(train=str(path), columns=Columns(features=("a",)))
    assert len(prepare(data, 0, "float32", tmp_path / "cache").training) == 1501
    path.write_bytes(b"a,target,note\n" + rows + b'1,1,"Jos\n2,0,x\n')
    one_line(lambda: prepare(data, 0, "float32", tmp_path / "cache"), "line 1502: a quote that opens in this row")


def test_a_quoted_line_break_at_the_end_of_a_file_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('a,target\n1,x\n2,"y\nz"\n')
    assert prepare(Data(train=str(path)), 0, "float32", tmp_path).encoding.target.classes == ("x", "y\nz")
