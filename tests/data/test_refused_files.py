"""Data that can't be used, through the command line: one exact line with the place, exit code 3, nothing left behind."""
# ruff: noqa: E501 (a case stays on a line)

import bz2
import gzip
import io
import os
import struct
import tempfile
import time
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import tomli_w

from distprop.cli import main

Content = str | bytes | None
CLASSES = {"type": "softmax_cross_entropy"}
VALUES = {"type": "mean_squared_error"}
SOUND = "a,target\n1,0\n2,1\n"

CORRECT = "correct it, or add it to missing_markers under [data]; a feature can also be listed in categorical under [data.columns]"
NAME_IT = " Name the column to predict by target under [data.columns]"
FILL = 'set missing = "mean" or a number under [data]'
NEITHER = "are neither numbers nor text; convert the column or drop it"


def npy(values: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values), **options)
    return file.getvalue()


def header(text: str, version: int = 1, data: bytes = b"", length: int | None = None) -> bytes:
    """A .npy file with any header, which may lie about its own length."""
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + data


def described(shape: str, dtype: str = "<f8", fortran: bool = False, data: bytes = bytes(192)) -> bytes:
    return header(f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".ljust(117) + "\n", 1, data)


def idx(kind: int, lengths: Sequence[int], data: bytes = b"") -> bytes:
    return bytes([0, 0, kind, len(lengths)]) + struct.pack(f">{len(lengths)}I", *lengths) + data


def archive(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are there twice
        for name, content in members:
            zipped.writestr(name, content)
    return file.getvalue()


def table(columns: dict[str, Any] | None = None, names: Sequence[str] = (), arrays: Sequence[Any] = ()) -> bytes:
    file = io.BytesIO()
    made = pa.table(columns) if columns is not None else pa.Table.from_arrays(list(arrays), names=list(names))
    parquet.write_table(made, file)
    return file.getvalue()


def damaged(content: bytes, at: int, by: bytes) -> bytes:
    return content[:at] + by + content[at + len(by) :]


ROWS = "a,target\n" + "".join(f"{n * 7919 % 1000},{n % 2}\n" for n in range(1000))
X, Y = npy(np.arange(24.0).reshape(4, 6)), npy([0, 1, 0, 1])
TARGET = ("target.npy", Y)
TWO = {"a": [1.0, 2.0], "target": [0, 1]}
OBJECTS = np.array([{}, 1, 2, 3], object)

# What train.csv holds, more keys of [data], and what is said, after the folder. "..." stands for a library's words.
CSV: list[tuple[Content, dict[str, Any], str]] = [
    ("", {}, 'train.csv: the file is empty'),
    ("\n", {}, 'train.csv: there are no rows below the header'),
    ("a,target\n", {}, 'train.csv: there are no rows below the header'),
    ("a,target", {}, 'train.csv: there are no rows below the header'),
    (b"\xef\xbb\xbf", {}, 'train.csv: there are no rows below the header'),
    (b"\xef\xbb\xbfa,target\n1,0\nx,1\n", {}, 'train.csv, line 3, column "a": "x" is not a number; ' + CORRECT),
    (b"a,target\r\n1,0\r\n2,1\r\nx,1\r\n", {}, 'train.csv, line 4, column "a": "x" is not a number; ' + CORRECT),
    (b"a,target\r1,0\r2,1\rx,1\r", {}, 'train.csv, line 4, column "a": "x" is not a number; ' + CORRECT),
    (b"name,target\nAnn,0\nJos\xe9,1\n", {}, 'train.csv, line 3: byte 0xe9 is no text in UTF-8; save the file as CSV in UTF-8'),
    (b"na\xefve,target\nAnn,0\nBob,1\n", {}, 'train.csv, line 1: byte 0xef is no text in UTF-8; save the file as CSV in UTF-8'),
    (SOUND.encode("utf-16"), {}, 'train.csv, line 1: byte 0xff is no text in UTF-8; save the file as CSV in UTF-8'),
    (SOUND.encode("utf-16-le"), {}, 'train.csv, line 1: there are NUL bytes, so this is no text; save it as CSV in UTF-8'),
    (b"a,target\n1,0\n2\x00,1\n", {}, 'train.csv, line 3, column "a": "2\\x00" is not a number; ' + CORRECT),
    (bytes(500), {}, 'train.csv, line 1: there are NUL bytes, so this is no text; save it as CSV in UTF-8'),
    (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0\x21\0\xff\xfe", {}, 'train.csv, line 1: byte 0xff is no text in UTF-8; save the file as CSV in UTF-8'),
    (b"\x89PNG\r\n\x1a\n" + bytes(200), {}, 'train.csv, line 1: byte 0x89 is no text in UTF-8; save the file as CSV in UTF-8'),
    (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", {}, 'train.csv, line 2: byte 0xe2 is no text in UTF-8; save the file as CSV in UTF-8'),
    (bz2.compress(SOUND.encode()), {}, 'train.csv, line 1: byte 0xa9 is no text in UTF-8; save the file as CSV in UTF-8'),
    ("<!DOCTYPE html>\n<html><body>Log in</body></html>\n", {}, 'train.csv: there is no column "target"; it has <!DOCTYPE html>.' + NAME_IT),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", {}, 'train.csv: there is no column "target"; it has version https://git-lfs.github.com/spec/v1.' + NAME_IT),
    ('[{"a": 1, "target": 0},\n {"a": 2, "target": 1}]\n', {}, 'train.csv: column 3 has no name; the first line has to name every column'),
    ("# made on Monday\na,target\n1,0\n2,1\n", {}, 'train.csv: there is no column "target"; it has # made on Monday.' + NAME_IT),
    ("1,0\n2,1\n3,0\n", {}, 'train.csv: there is no column "target"; it has 1, 0.' + NAME_IT),
    ("a, target\n1,0\n2,1\n", {}, 'train.csv: there is no column "target"; did you mean " target"?' + NAME_IT),
    ("a,Target\n1,0\n2,1\n", {}, 'train.csv: there is no column "target"; did you mean "Target"?' + NAME_IT),
    ("a,target,target\n1,0,1\n2,1,0\n", {}, 'train.csv: two columns are called "target"; rename or remove one'),
    ("a,target,\n1,0,\n2,1,\n", {}, 'train.csv: column 3 has no name; the first line has to name every column'),
    ("a,target\n1,0,\n2,1,\n", {}, 'train.csv, line 2: 3 values, but the header names 2 columns'),
    ("a,b,target\n1,2,0\n3,1\n", {}, 'train.csv, line 3: 2 values, but the header names 3 columns'),
    ("a;target\n1;0\n2;1\n", {}, 'train.csv: the header is a single name, "a;target"; set delimiter = ";" under [data]'),
    ("a\ttarget\n1\t0\n2\t1\n", {}, 'train.csv: the header is a single name, "a\\ttarget"; set delimiter = "\\t" under [data]'),
    ("a|target\n1|0\n2|1\n", {}, 'train.csv: the header is a single name, "a|target"; set delimiter = "|" under [data]'),
    ("a target\n1 0\n2 1\n", {}, 'train.csv: there is no column "target"; did you mean "a target"?' + NAME_IT),
    (SOUND, {"delimiter": ";"}, 'train.csv: the header is a single name, "a,target"; set delimiter = "," under [data]'),
    ('a,target\n1,0\n"2,1\n3,0\n4,1\n', {}, 'train.csv, line 3: a quote that opens in this row is never closed'),
    ('a,target\nx,0\n"y,1\nz,0\n', {}, 'train.csv, line 3: a quote that opens in this row is never closed'),
    ('a,target\n1,0\n2,"1\n3,0\n', {}, 'train.csv, line 3: a quote that opens in this row is never closed'),
    ('target,b,a\n0,1,x\n1,2,"y\n0,3,z\n', {"columns": {"features": ["b"]}}, 'train.csv, line 3: a quote that opens in this row is never closed'),
    ('"a,target\n1,0\n2,1\n', {}, 'train.csv, line 1: a quote that opens in this row is never closed'),
    ('a,target\nx,0\n"y,1\n' + "z,0\nw,1\n" * 30_000, {}, 'train.csv, line 3: a value of more than 131072 characters, or a quote that is never closed'),
    ("a,target\n1,0\n" + "9" * 400_000 + ",1\n", {}, 'train.csv, line 3: a value of more than 131072 characters, or a quote that is never closed'),
    ("a,target\n1,0\n" + "9" * (17 << 20), {}, 'train.csv, line 3: more than 16777216 characters; is this CSV?'),
    ('a,target\n1,0\n2"3,1\n', {}, 'train.csv, line 3, column "a": "2"3" is not a number; ' + CORRECT),
    ("a;target\n1;0\n2,5;1\n", {"delimiter": ";"}, 'train.csv, line 3, column "a": "2,5" is not a number; ' + CORRECT),
    ('a,target\n1,0\n"2,000",1\n', {}, 'train.csv, line 3, column "a": "2,000" is not a number; ' + CORRECT),
    ("a,target\n1,0\n50%,1\n", {}, 'train.csv, line 3, column "a": "50%" is not a number; ' + CORRECT),
    ("a,target\n1,0\n0x10,1\n", {}, 'train.csv, line 3, column "a": "0x10" is not a number; ' + CORRECT),
    ("a,target\n1,0\n1_000,1\n", {}, 'train.csv, line 3, column "a": "1_000" is not a number; ' + CORRECT),
    ("a,target\n1,0\n ,1\n", {}, 'train.csv, line 3, column "a": " " is not a number; ' + CORRECT),
    ("a,target\n1,0\n?,1\n", {}, 'train.csv, line 3, column "a": "?" is not a number; ' + CORRECT),
    ("a,target\n1,0\n٣,1\n", {}, 'train.csv, line 3, column "a": "٣" is not a number; ' + CORRECT),
    ("a,target\n1,0\n\x1b[31m,1\n", {}, 'train.csv, line 3, column "a": "\\x1b[31m" is not a number; ' + CORRECT),
    ("a,target\n1,0\n2024-01-31,1\n", {}, 'train.csv, line 3, column "a": "2024-01-31" is not a number; ' + CORRECT),
    ("a,target\ntrue,0\n3,1\n", {}, 'train.csv, line 3, column "a": "3" is not true or false, as the column\'s first value is; ' + CORRECT),
    ('"a\nb",target\n1,0\nx,1\n', {}, 'train.csv, line 4, column "a\\nb": "x" is not a number; ' + CORRECT),
    ("a,target\n1,0\n,1\n", {}, 'train.csv, line 3, column "a": the value is missing; ' + FILL),
    ("a,target\n1,0\nNaN,1\n", {}, 'train.csv, line 3, column "a": the value is missing; ' + FILL),
    ("a,target\n-999,0\n-999,1\n", {"missing_markers": ["-999"]}, 'train.csv, line 2, column "a": the value is missing; ' + FILL),
    ("a,target\n1,0\n1e39,1\n", {}, 'train.csv, line 3, column "a": the value is infinite, or too large for float32'),
    ("a,target\n1,0\n-1e39,1\n", {}, 'train.csv, line 3, column "a": the value is infinite, or too large for float32'),
    ("a,target\n1,0\ninf,1\n", {}, 'train.csv, line 3, column "a": the value is infinite, or too large for float32'),
    ("a,target\n1,0\n-Infinity,1\n", {}, 'train.csv, line 3, column "a": the value is infinite, or too large for float32'),
    ("a,target\n1,nan\n2,1\n3,0\n", {}, 'train.csv, line 2, column "target": the class is missing; remove the row'),
    ("a,target\n1,\n2,\n", {}, 'train.csv, column "target": the class is missing in every row'),
    ("a,target\n1,0\n", {}, 'train.csv, column "target": all rows are of one class (0); at least two are needed'),
    ("a,target\n1,7\n2,7.0\n", {}, 'train.csv, column "target": all rows are of one class (7); at least two are needed'),
    ("a,target\n1,0\n2,high\n", {"target_kind": "values"}, 'train.csv, line 3, column "target": "high" is not a number; ' + CORRECT),
    ("a,target\n1,low\n2,high\n", {"target_kind": "values"}, 'train.csv, column "target": the target holds text, but numbers are to be predicted'),
    ("a,target\n1,0\n2,inf\n", {"target_kind": "values"}, 'train.csv, line 3, column "target": the value is infinite, or too large for float32'),
    ("a,target\n1,0\n2,1e300\n", {"target_kind": "values"}, 'train.csv, line 3, column "target": the value is infinite, or too large for float32'),
    ("a,target\n1,0\n2,\n", {"target_kind": "values"}, 'train.csv, line 3, column "target": the target is missing; remove the row'),
    ("a,target\n1,0\n", {"target_kind": "values", "validation_fraction": 0.5}, "train.csv: one row can't be divided into training and validation"),
    ("a,w,target\n1,1,0\n2,x,1\n", {"columns": {"weight": "w"}}, 'train.csv, line 3, column "w": "x" is not a number; ' + CORRECT),
    ("a,w,target\n1,x,0\n2,y,1\n", {"columns": {"weight": "w"}}, 'train.csv, line 2, column "w": "x" is not a number; ' + CORRECT),
    ("a,w,target\n1,1,0\n2,inf,1\n", {"columns": {"weight": "w"}}, 'train.csv, line 3, column "w": the value is infinite, or too large for float32'),
    ("a,w,target\n1,1,0\n2,nan,1\n", {"columns": {"weight": "w"}}, 'train.csv, line 3, column "w": the weight is missing; remove the row'),
    ("a,w,target\n1,1,0\n2,-0.5,1\n", {"columns": {"weight": "w"}}, 'train.csv, line 3, column "w": a weight is negative'),
    ("a,w,target\n1,0,0\n2,0,1\n", {"columns": {"weight": "w"}}, 'train.csv, column "w": all weights are 0'),
    ("a,target\n1,0\n2,1\n", {"columns": {"weight": "w"}}, 'train.csv: there is no column "w"; it has a, target'),
    ("height,target\n1,0\n2,1\n", {"columns": {"features": ["hieght"]}}, 'train.csv: there is no column "hieght"; did you mean "height"?'),
    ("a,target\n1,0\n2,1\n", {"columns": {"categorical": ["b"]}}, 'train.csv: there is no column "b"; it has a, target'),
    ("target\n0\n1\n", {}, 'train.csv: no column is left to be a feature; it has target'),
    ("a,target\n" + "".join(f"name{n},{n % 2}\n" for n in range(1200)), {}, 'train.csv, column "a": more than 1000 categories; drop it by listing the others in features under [data.columns]'),
    ("a,target\n" + "".join(f"1,{n}.5\n" for n in range(10_001)), {}, 'train.csv, column "target": more than 10000 classes; to predict numbers, set target_kind = "values" under [data]'),
    ("a,b,target\n,1,0\n,2,1\n", {"missing": "mean"}, 'train.csv, column "a": all training values are missing and have no mean; drop the column'),
    ("a,b,target\n,1,0\n,2,1\n", {"columns": {"categorical": ["a"]}}, 'train.csv, column "a": all values are missing; drop the column'),
    (gzip.compress(SOUND.encode() * 1000)[:-20], {}, 'train.csv: the file is damaged or no CSV (...)'),
    (damaged(gzip.compress(ROWS.encode()), 40, b"\xff\xff"), {}, 'train.csv: the file is damaged or no CSV (...)'),
    (gzip.compress(SOUND.encode()) + b"garbage", {}, 'train.csv: the file is damaged or no CSV (...)'),
    (gzip.compress(b"a,target\n1,0\n" + b"9" * (40 << 20), 1), {}, 'train.csv, line 3: more than 16777216 characters; is this CSV?'),
]  # fmt: skip

# Files of features, targets and weights, more keys, and what is said.
ARRAYS: list[tuple[bytes, bytes, bytes | None, dict[str, Any], str]] = [
    (b"", Y, None, {}, 'x.npy: the file is empty'),
    (b"\0", Y, None, {}, 'x.npy: neither a .npy nor an IDX file: it begins with the bytes 00'),
    (b"\0\0", Y, None, {}, 'x.npy: bad IDX header 00 00: an unknown type of elements or no axes'),
    (b"\0\0\x08", Y, None, {}, 'x.npy: bad IDX header 00 00 08: an unknown type of elements or no axes'),
    (idx(0x08, [4, 2, 3])[:9], Y, None, {}, 'x.npy: the file ends inside its IDX header; it is cut off'),
    (b"\0\0\x08\0", Y, None, {}, 'x.npy: bad IDX header 00 00 08 00: an unknown type of elements or no axes'),
    (idx(0x07, [4, 6], bytes(24)), Y, None, {}, 'x.npy: bad IDX header 00 00 07 02: an unknown type of elements or no axes'),
    (idx(0x08, [4, 6], bytes(23)), Y, None, {}, 'x.npy: the file ends at row 3 of 4; it is cut off'),
    (idx(0x08, [4, 6], bytes(25)), Y, None, {}, "x.npy: there is more data than the header's shape (4, 6) says"),
    (idx(0x08, [4, 0]), Y, None, {}, 'x.npy: the array of shape (4, 0) is empty'),
    (idx(0x08, [5, 1], bytes(5)), Y, None, {}, 'y.npy has 4 rows, but x.npy has 5'),
    (idx(0x08, [4, 1 << 29], bytes(10)), Y, None, {}, 'x.npy: the file ends at row 0 of 4; it is cut off'),
    (idx(0x08, [4, 1 << 31], bytes(10)), Y, None, {}, 'x.npy: a sample of shape (2147483648,) is larger than 1 GiB; the header may be damaged'),
    (idx(0x08, [0xFFFFFFFF, 3], bytes(10)), Y, None, {}, 'y.npy has 4 rows, but x.npy has 4294967295'),
    (idx(0x08, [0xFFFFFFFF] * 255), Y, None, {}, "x.npy: an array can't have 255 axes; the header is damaged"),
    (idx(0x0D, [4, 1], struct.pack(">4f", 1, 2, float("nan"), 4)), Y, None, {}, 'x.npy, row 2 (counted from 0): the value is missing; ' + FILL),
    (idx(0x0E, [4, 1], struct.pack(">4d", 1, 1e300, 3, 4)), Y, None, {}, 'x.npy, row 1 (counted from 0): the value is infinite, or too large for float32'),
    (gzip.compress(idx(0x08, [4, 6], bytes(24)))[:-5], Y, None, {}, 'x.npy: the file is damaged (...)'),
    (gzip.compress(idx(0x08, [4, 6], bytes(23))), Y, None, {}, 'x.npy: the file ends at row 3 of 4; it is cut off'),
    (gzip.compress(idx(0x08, [4, 6], bytes(24)))[:-6] + b"abcdef", Y, None, {}, "x.npy: the file is damaged (...)"),
    (gzip.compress(b""), Y, None, {}, "x.npy: neither a .npy nor an IDX file: it begins with the bytes "),
    (b"a,b\n1,2\n", Y, None, {}, 'x.npy: neither a .npy nor an IDX file: it begins with the bytes 61 2c 62 0a'),
    (b"\x89PNG\r\n\x1a\n", Y, None, {}, 'x.npy: neither a .npy nor an IDX file: it begins with the bytes 89 50 4e 47'),
    (b"\x80\x04\x95cos\nsystem\n", Y, None, {}, 'x.npy: neither a .npy nor an IDX file: it begins with the bytes 80 04 95 63'),
    (b"\x93NUMPY", Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (X[:40], Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (X[:-3], Y, None, {}, 'x.npy: the file ends at row 3 of 4; it is cut off'),
    (X + b"x", Y, None, {}, "x.npy: there is more data than the header's shape (4, 6) says"),
    (b"\x93NUMPY\x09\x00" + bytes(200), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (header("{", 2, b"", 0xFFFFFFFF), Y, None, {}, 'x.npy: the header of the array is damaged (it is 4294967295 bytes long)'),
    (header("{'descr': '<f8'", 1, b"", 65535), Y, None, {}, 'x.npy: the header of the array is damaged (it is 65535 bytes long)'),
    (header("[1, 2, 3]".ljust(117) + "\n"), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (header("__import__('os').system('touch executed')".ljust(117) + "\n"), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (header("(" * 3000), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (header("\0" * 118), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (described("(4, 6), 'x': 1"), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (described("(4.0, 6)"), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (described("(True, 6)"), Y, None, {}, "x.npy: an array can't have shape (True, 6); the header is damaged"),
    (described("(-4, 6)"), Y, None, {}, "x.npy: an array can't have shape (-4, 6); the header is damaged"),
    (described("(4, -6)"), Y, None, {}, "x.npy: an array can't have shape (4, -6); the header is damaged"),
    (described("(1000000000000000000000000000000, 6)"), Y, None, {}, 'y.npy has 4 rows, but x.npy has 1000000000000000000000000000000'),
    (described("(4, 1000000000000000000000000000000)"), Y, None, {}, 'x.npy: a sample of shape (1000000000000000000000000000000,) is larger than 1 GiB; the header may be damaged'),
    (described("(4, 1000000000000000000000000000000)", fortran=True), Y, None, {}, 'x.npy: a sample of shape (1000000000000000000000000000000,) is larger than 1 GiB; the header may be damaged'),
    (described("(4, 100000000)", fortran=True), Y, None, {}, 'x.npy: the file is damaged (...)'),
    (described("(4, 0)", data=b""), Y, None, {}, 'x.npy: the array of shape (4, 0) is empty'),
    (described("()", data=bytes(8)), Y, None, {}, 'x.npy: the array is a single value; its first axis has to be the samples'),
    (described("(4, 6)", "|O", data=b"cos\nsystem\n(S'touch executed'\ntR."), Y, None, {}, "x.npy: elements of type object can't be used; save numbers, booleans or text"),
    (described("(4, 6)", "<q9"), Y, None, {}, 'x.npy: the header of the array is damaged (...)'),
    (gzip.compress(described("(4, 100000000)", fortran=True)), Y, None, {}, 'x.npy: compressed, in column-major order and larger than 1 GiB; save it in C order'),
    (gzip.compress(described("(4, 6)", fortran=True, data=bytes(100))), Y, None, {}, "x.npy: the header's shape (4, 6) doesn't fit the data; the file is damaged"),
    (npy(OBJECTS.reshape(4, 1), allow_pickle=True), Y, None, {}, "x.npy: elements of type object can't be used; save numbers, booleans or text"),
    (npy(np.zeros((4, 2), complex)), Y, None, {}, "x.npy: elements of type complex128 can't be used; save numbers, booleans or text"),
    (npy(np.zeros((4, 2), "M8[s]")), Y, None, {}, "x.npy: elements of type datetime64[s] can't be used; save numbers, booleans or text"),
    (npy(np.zeros(4, [("a", "f4"), ("b", "f4")])), Y, None, {}, "x.npy: elements of type [('a', '<f4'), ('b', '<f4')] can't be used; save numbers, booleans or text"),
    (npy(np.zeros((4, 2), "V8")), Y, None, {}, "x.npy: elements of type |V8 can't be used; save numbers, booleans or text"),
    (npy([["a"], ["b"], ["c"], ["d"]]), Y, None, {}, 'x.npy: text where numbers are needed'),
    (npy(3.0), Y, None, {}, 'x.npy: the array is a single value; its first axis has to be the samples'),
    (npy(np.zeros((0, 6))), Y, None, {}, 'x.npy: the array of shape (0, 6) is empty'),
    (npy(np.full((4, 2), np.inf, np.float16)), Y, None, {}, 'x.npy, row 0 (counted from 0): the value is infinite, or too large for float32'),
    (npy(np.full((4, 2), 1e300)), Y, None, {}, 'x.npy, row 0 (counted from 0): the value is infinite, or too large for float32'),
    (npy([[1.0], [2.0], [np.nan], [3.0]]), Y, None, {}, 'x.npy, row 2 (counted from 0): the value is missing; ' + FILL),
    (npy(np.zeros((3, 6))), Y, None, {}, 'y.npy has 4 rows, but x.npy has 3'),
    (Y, X, None, {}, 'y.npy: shape (4, 6) holds more than one label a row; labels have one axis'),
    (X, b"", None, {}, 'y.npy: the file is empty'),
    (X, npy([0, 1, 0]), None, {}, 'y.npy has 3 rows, but x.npy has 4'),
    (X, npy([0, 0, 0, 0]), None, {}, 'y.npy: all rows are of one class (0); at least two are needed'),
    (X, npy([0, 1, np.nan, 1]), None, {}, 'y.npy, row 2 (counted from 0): the class is missing; remove the row'),
    (X, npy([0, 1, 2j, 1]), None, {}, "y.npy: elements of type complex128 can't be used; save numbers, booleans or text"),
    (X, npy(OBJECTS, allow_pickle=True), None, {}, "y.npy: elements of type object can't be used; save numbers, booleans or text"),
    (X, npy(["a", "b", "c", "d"]), None, {"target_kind": "values"}, 'y.npy: the target holds text, but numbers are to be predicted'),
    (X, npy([1.0, np.nan, 2.0, 3.0]), None, {"target_kind": "values"}, 'y.npy, row 1 (counted from 0): the target is missing; remove the row'),
    (X, npy([1.0, 2.0, 3.0, -np.inf]), None, {"target_kind": "values"}, 'y.npy, row 3 (counted from 0): the value is infinite, or too large for float32'),
    (X, Y, npy([1.0, 1.0, 1.0]), {}, 'w.npy has 3 rows, but x.npy has 4'),
    (X, Y, npy([1.0, 1.0, -1.0, 1.0]), {}, 'w.npy, row 2 (counted from 0): a weight is negative'),
    (X, Y, npy([0.0, 0.0, 0.0, 0.0]), {}, 'w.npy: all weights are 0'),
    (X, Y, npy([1.0, np.nan, 1.0, 1.0]), {}, 'w.npy, row 1 (counted from 0): the weight is missing; remove the row'),
    (X, Y, npy([1.0, np.inf, 1.0, 1.0]), {}, 'w.npy, row 1 (counted from 0): the value is infinite, or too large for float32'),
    (X, Y, npy(np.ones((4, 2))), {}, 'w.npy: weights are one number a row'),
    (X, Y, npy(["a", "b", "c", "d"]), {}, 'w.npy: text where numbers are needed'),
]  # fmt: skip

# What train.npz or train.parquet holds, more keys, and what is said.
NPZ: list[tuple[Content, dict[str, Any], str]] = [
    (b"", {}, 'train.npz: the file is empty'),
    (b"hello", {}, 'train.npz: not a .npz file (...)'),
    (archive(), {}, 'train.npz: there is no array in this file'),
    (archive(("readme.txt", b"hello")), {}, 'train.npz: there is no array in this file'),
    (archive(("a.npy", npy([1.0, 2, 3, 4])), TARGET)[:-30], {}, 'train.npz: not a .npz file (...)'),
    (damaged(archive(("a.npy", npy(np.arange(4.0))), TARGET), 60, b"\xff\xff"), {}, "train.npz, array a: the header of the array is damaged (...)"),
    (archive(("x.npy", npy([1.0, 2, 3, 4])), ("y.npy", Y)), {}, 'train.npz: there is no column "target"; it has x, y.' + NAME_IT),
    (archive(("a.npy", npy([1.0, 2, 3])), TARGET), {}, 'train.npz, array target has 4 rows, but train.npz, array a has 3'),
    (archive(("a.npy", npy(1.0)), TARGET), {}, 'train.npz, array a: the array is a single value; its first axis has to be the samples'),
    (archive(("a.npy", npy([1.0, np.nan, 3, 4])), TARGET), {}, 'train.npz, array a, row 1 (counted from 0): the value is missing; ' + FILL),
    (archive(("a.npy", npy(OBJECTS, allow_pickle=True)), TARGET), {}, "train.npz, array a: elements of type object can't be used; save numbers, booleans or text"),
    (archive(("a.npy", b"cos\nsystem\n(S'touch executed'\ntR."), TARGET), {}, 'train.npz, array a: the header of the array is damaged (...)'),
    (archive(("a.npy", npy([1.0, 2, 3, 4])), ("a.npy", npy([1.0, 2, 3, 4])), TARGET), {}, 'train.npz: two arrays are called "a"; rename or remove one'),
    (archive((".npy", npy([1.0, 2, 3, 4])), TARGET), {}, 'train.npz: array 1 has no name; give it one'),
    (archive(("a\nb.npy", b"junk"), TARGET), {}, 'train.npz, array a\\nb: the header of the array is damaged (...)'),
    (archive(("../../a.npy", npy(["x", "y", "z", ""])), TARGET), {"target_kind": "values", "columns": {"target": "../../a"}}, 'train.npz, array ../../a: the target holds text, but numbers are to be predicted'),
    (archive(("/etc/a.npy", b"junk"), TARGET), {}, 'train.npz, array /etc/a: the header of the array is damaged (...)'),
    (archive(("a.npy", npy([1.0, 2, 3, 4]) + bytes(9)), TARGET), {}, "train.npz, array a: there is more data than the header's shape (4,) says"),
    (archive(("a.npy", npy(np.ones((4, 2)))), TARGET), {"columns": {"categorical": ["a"]}}, 'train.npz, array a: shape (4, 2) holds more than one label a row; labels have one axis'),
    (archive(("a.npy", header("", 2, bytes(1 << 24), 1 << 24)), TARGET), {}, 'train.npz, array a: the header of the array is damaged (it is 16777216 bytes long)'),
    (archive(("a.npy", described("(4, 100000000)", fortran=True)), TARGET), {}, 'train.npz, array a: compressed, in column-major order and larger than 1 GiB; save it in C order'),
]  # fmt: skip
PARQUET: list[tuple[Content, dict[str, Any], str]] = [
    (b"", {}, 'train.parquet: the file is empty'),
    (b"PAR1PAR1", {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (b"PAR1" + bytes(10) + struct.pack("<I", 0x7FFFFFFF) + b"PAR1", {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (b"PARE" + bytes(20) + struct.pack("<I", 10) + b"PARE", {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (SOUND, {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (table(TWO)[:-9], {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (table(TWO)[9:], {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (damaged(table({"a": list(range(5000)), "target": [0, 1] * 2500}), 300, bytes(900)), {}, 'train.parquet: the file is damaged or no Parquet (...)'),
    (table({}), {}, 'train.parquet: there are no rows in this file'),
    (table({"a": pa.array([], pa.float64()), "target": pa.array([], pa.int64())}), {}, 'train.parquet: there are no rows in this file'),
    (table(names=["a", "a", "target"], arrays=[pa.array([1, 2]), pa.array([1, 2]), pa.array([0, 1])]), {}, 'train.parquet: two columns are called "a"; rename or remove one'),
    (table({"": [1.0, 2.0], "target": [0, 1]}), {}, 'train.parquet: column 1 has no name; give it one'),
    (table({"a": [1.0, 2.0], "label": [0, 1]}), {}, 'train.parquet: there is no column "target"; it has a, label.' + NAME_IT),
    (table({"a": [[1], [2]], "target": [0, 1]}), {}, 'train.parquet, column "a": values of type list<element: int64> ' + NEITHER),
    (table({"a": [{"x": 1}, {"x": 2}], "target": [0, 1]}), {}, 'train.parquet, column "a": values of type struct<x: int64> ' + NEITHER),
    (table({"a": pa.array([[("k", 1)], [("k", 2)]], pa.map_(pa.string(), pa.int64())), "target": [0, 1]}), {}, 'train.parquet, column "a": values of type map<string, int64 (\'a\')> ' + NEITHER),
    (table({"a": pa.array([0, 1], pa.timestamp("ms")), "target": [0, 1]}), {}, 'train.parquet, column "a": values of type timestamp[ms] ' + NEITHER),
    (table({"a": pa.array([0, 1], pa.date32()), "target": [0, 1]}), {}, 'train.parquet, column "a": values of type date32[day] ' + NEITHER),
    (table({"a": pa.array([b"x", b"y"]), "target": [0, 1]}), {}, 'train.parquet, column "a": values of type binary ' + NEITHER),
    (table({"a": pa.array([None, None], pa.null()), "target": [0, 1]}), {}, 'train.parquet, row 0 (counted from 0), column "a": the value is missing; ' + FILL),
    (table({"a": [1.0, 2.0], "target": pa.array([None, None], pa.null())}), {}, 'train.parquet, column "target": the class is missing in every row'),
    (table({"a": [1.0, None], "target": [0, 1]}), {}, 'train.parquet, row 1 (counted from 0), column "a": the value is missing; ' + FILL),
    (table({"a": [1.0, float("nan")], "target": [0, 1]}), {}, 'train.parquet, row 1 (counted from 0), column "a": the value is missing; ' + FILL),
    (table({"a": [1.0, float("inf")], "target": [0, 1]}), {}, 'train.parquet, row 1 (counted from 0), column "a": the value is infinite, or too large for float32'),
    (table({"a": [1.0, 1e300], "target": [0, 1]}), {}, 'train.parquet, row 1 (counted from 0), column "a": the value is infinite, or too large for float32'),
    (table({"a": [1.0, 2.0, 3.0], "target": [0, None, 1]}), {}, 'train.parquet, row 1 (counted from 0), column "target": the class is missing; remove the row'),
    (table({"a": [1.0, 2.0], "target": [0, 0]}), {}, 'train.parquet, column "target": all rows are of one class (0); at least two are needed'),
    (table({"a": [1.0, 2.0], "target": ["x", "y"]}), {"target_kind": "values"}, 'train.parquet, column "target": the target holds text, but numbers are to be predicted'),
    (table({"a": [1.0, 2.0], "w": ["x", "y"], "target": [0, 1]}), {"columns": {"weight": "w"}}, 'train.parquet, column "w": text where numbers are needed'),
    (table({"a": [1.0, 2.0], "w": [1.0, -1.0], "target": [0, 1]}), {"columns": {"weight": "w"}}, 'train.parquet, row 1 (counted from 0), column "w": a weight is negative'),
]  # fmt: skip

# train.csv and validation.csv that are each right, or nearly, and what doesn't fit in the second.
VALIDATION: list[tuple[Content, Content, dict[str, Any], str]] = [
    (SOUND, "", {}, 'validation.csv: the file is empty'),
    (SOUND, "a,target\n", {}, 'validation.csv: there are no rows below the header'),
    (SOUND, "b,target\n1,0\n", {}, 'validation.csv: there is no column "a"; it has b, target'),
    (SOUND, "a\n1\n", {}, 'validation.csv: there is no column "target"; it has a'),
    (SOUND, "a;target\n1;0\n", {}, 'validation.csv: the header is a single name, "a;target"; set delimiter = ";" under [data]'),
    (SOUND, "a,target\n1,2\n", {}, 'validation.csv, line 2, column "target": class "2" was not in the training data (known: 0, 1)'),
    (SOUND, "a,target\n1,\n", {}, 'validation.csv, line 2, column "target": the class is missing; remove the row'),
    (SOUND, "a,target\n1,0\nx,1\n", {}, 'validation.csv, line 3, column "a": "x" is not a number; ' + CORRECT),
    (SOUND, "a,target\n1,0\n,1\n", {}, 'validation.csv, line 3, column "a": the value is missing; ' + FILL),
    (SOUND, "a,target\n1e40,1\n", {}, 'validation.csv, line 2, column "a": the value is infinite, or too large for float32'),
    (SOUND, "a,target\n1,0,1\n", {}, 'validation.csv, line 2: 3 values, but the header names 2 columns'),
    (SOUND, b"a,target\n1,0\n\xff,1\n", {}, 'validation.csv, line 3: byte 0xff is no text in UTF-8; save the file as CSV in UTF-8'),
    ("a,target\nx,0\ny,1\n", "a,target\nz,1\n", {}, 'validation.csv, line 2, column "a": category "z" was not in the training data (known: x, y)'),
    ("a,target\nx,0\ny,1\n", "a,target\n1,1\n", {}, 'validation.csv, line 2, column "a": category "1" was not in the training data (known: x, y)'),
    ("a,w,target\n1,1,0\n2,1,1\n", "a,w,target\n1,0,0\n", {"columns": {"weight": "w"}}, 'validation.csv, column "w": all weights are 0'),
    ("a,w,target\n1,1,0\n2,1,1\n", "a,w,target\n1,-1,0\n", {"columns": {"weight": "w"}}, 'validation.csv, line 2, column "w": a weight is negative'),
    (SOUND, "a,target\n1,x\n", {"target_kind": "values"}, 'validation.csv, line 2, column "target": "x" is not a number; ' + CORRECT),
]  # fmt: skip


def said(folder: Path, files: dict[str, Content], data: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that `distprop train` ends with, without the folder. Nothing but the files may be left in it."""
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    loss = VALUES if data.get("target_kind") == "values" else CLASSES
    network = {"layers": [{"type": "dense", "units": 1 if loss is VALUES else 2}], "loss": loss}
    (folder / "run.toml").write_text(tomli_w.dumps({"data": data, "network": network}), encoding="utf-8")
    start = time.process_time()
    assert main(["train", str(folder / "run.toml"), "-n", "2", "--run", str(folder / "run")]) == 3
    assert time.process_time() - start < 3
    output, errors = capsys.readouterr()
    assert (
        output == "" and errors.count("\n") == 1 and len(errors) < 600 + len(str(folder)) and "Traceback" not in errors
    )
    assert {path.name for path in folder.iterdir()} - files.keys() <= {"run.toml", "cache"}
    assert not [path for path in (folder / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    return errors.removesuffix("\n").replace(f"{folder}/", "")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def agrees(found: str, expected: str) -> bool:
    start, dots, end = expected.partition("...")
    return found.startswith(start) and found.endswith(end) if dots else found == expected


@pytest.mark.parametrize(("content", "data", "line"), CSV, ids=range(len(CSV)))
def test_csv(content: Content, data: dict[str, Any], line: str, tmp_path: Path, capsys: Any) -> None:
    found = said(tmp_path, {"train.csv": content}, {"train": "train.csv", **data}, capsys)
    assert agrees(found, line), found


@pytest.mark.parametrize(("x", "y", "w", "data", "line"), ARRAYS, ids=range(len(ARRAYS)))
def test_arrays(
    x: bytes, y: bytes, w: bytes | None, data: dict[str, Any], line: str, tmp_path: Path, capsys: Any
) -> None:
    train = {"features": "x.npy", "targets": "y.npy"} | ({} if w is None else {"weights": "w.npy"})
    found = said(tmp_path, {"x.npy": x, "y.npy": y, "w.npy": w}, {"train": train, **data}, capsys)
    assert agrees(found, line), found


@pytest.mark.parametrize(("content", "data", "line"), NPZ, ids=range(len(NPZ)))
def test_npz(content: Content, data: dict[str, Any], line: str, tmp_path: Path, capsys: Any) -> None:
    found = said(tmp_path, {"train.npz": content}, {"train": "train.npz", **data}, capsys)
    assert agrees(found, line), found


@pytest.mark.parametrize(("content", "data", "line"), PARQUET, ids=range(len(PARQUET)))
def test_parquet(content: Content, data: dict[str, Any], line: str, tmp_path: Path, capsys: Any) -> None:
    found = said(tmp_path, {"train.parquet": content}, {"train": "train.parquet", **data}, capsys)
    assert agrees(found, line), found


@pytest.mark.parametrize(("train", "validation", "data", "line"), VALIDATION, ids=range(len(VALIDATION)))
def test_validation_data(
    train: Content, validation: Content, data: dict[str, Any], line: str, tmp_path: Path, capsys: Any
) -> None:
    files = {"train.csv": train, "validation.csv": validation}
    found = said(tmp_path, files, {"train": "train.csv", "validation": "validation.csv", **data}, capsys)
    assert agrees(found, line), found


def test_there_are_many_distinct_ones() -> None:
    groups = {"csv": CSV, "arrays": ARRAYS, "npz": NPZ, "parquet": PARQUET, "validation": VALIDATION}
    cases = [f"{name} {case[:-1]}" for name, group in groups.items() for case in group]
    assert len(set(cases)) == len(cases) > 200


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_files_that_may_not_be_read_are_one_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "train.csv").write_text(SOUND)
        data = {"data": {"train": "train.csv"}, "network": {"layers": [{"type": "dense", "units": 2}], "loss": CLASSES}}
        (folder / "run.toml").write_text(tomli_w.dumps(data))
        (folder / "train.csv").chmod(0)
        os.seteuid(65534)
        try:
            code = main(["train", str(folder / "run.toml"), "-n", "2", "--run", str(folder / "run")])
            (other := main(["check", str(tmp_path / "run.toml")]))
        finally:
            os.seteuid(0)
        assert (code, other) == (3, 2)
        assert capsys.readouterr().err.splitlines() == [
            f"{folder}/train.csv: Permission denied",
            f"{tmp_path}/run.toml: can't be read: Permission denied",
        ]
