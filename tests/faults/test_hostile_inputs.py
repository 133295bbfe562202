"""R17: data, configurations and model files that somebody made on purpose, given to the command line.

All are read by one process, programs/reading.py, which sees every file that Python opens and all that it executes.
"""

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from safetensors.numpy import save, save_file

import distprop as dp
from distprop.training.tensors import load_tensors

CONFIG = """
[data]
train = {train}

[network]
layers = [{{ type = "dense", units = 2 }}]
loss = {{ type = "softmax_cross_entropy" }}
"""
ROWS = "a,target\n1,0\n2,1\n"
MEMORY_MB = 150  # all cases together


class Executed:
    """Whoever unpickles it makes a file."""

    def __reduce__(self):
        return os.system, ("touch executed",)


PICKLE = pickle.dumps(Executed())
CODE = "__import__('os').system('touch executed')"


def npy(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def header(text, version=1, length=None, data=b""):
    size = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + data


def archive(*members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return file.getvalue()


def table(metadata=None, field=None):
    schema = pa.schema([pa.field("a", pa.int64(), metadata=field), pa.field("target", pa.int64())], metadata=metadata)
    file = io.BytesIO()
    parquet.write_table(pa.table({"a": [1, 2], "target": [0, 0]}, schema=schema), file)
    return file.getvalue()


OBJECTS = npy(np.array([Executed()] * 4, object), allow_pickle=True)
WIDE = "{{'descr': '<f8', 'fortran_order': {}, 'shape': ({}, {}), }}\n"
TARGET = ("target.npy", npy(np.array([0, 1, 0, 1])))
BOMB = bytes(50 << 20)

# Files of training data: what train.* holds.
TABLES = {
    "a pickle as CSV": ("csv", PICKLE),
    "a pickle as npz": ("npz", PICKLE),
    "a pickle as Parquet": ("parquet", PICKLE),
    "code for a spreadsheet": ("csv", f"a,target\n1,0\n=cmd|' /C calc'!A0,1\n@SUM({CODE}),0\n".encode()),
    "controls for a terminal": ("csv", b"a\x1b]0;x\x07\x1b[2J,target\n1,0\n\x1b[31m\r\n"),
    "names for a shell": ("csv", b"$(touch executed),`touch executed`\n1,0\n2,1\n"),
    "a name that leads elsewhere": ("csv", b"../../outside/secret,target\n1,0\nx,1\n"),
    "a bomb in one line": ("csv", gzip.compress(b"a,target\n1,0\n" + BOMB.replace(b"\0", b"9"), 1)),
    "a bomb of NUL bytes": ("csv", gzip.compress(BOMB, 1)),
    "a bomb in quotes": ("csv", gzip.compress(b'a,target\n1,0\n"' + b"x\n" * (10 << 20), 1)),
    "an array of pickles": ("npz", archive(("a.npy", OBJECTS), TARGET)),
    "a target of pickles": ("npz", archive(("a.npy", npy(np.ones(4))), ("target.npy", OBJECTS))),
    "a member that leads elsewhere": ("npz", archive(("../../outside/secret.npy", b"x"), TARGET)),
    "a member of the system's": ("npz", archive(("/etc/passwd.npy", b"x"), TARGET)),
    "a member with a line break": ("npz", archive(("a\nb: all is well.npy", b"x"), TARGET)),
    "a member with a giant header": ("npz", archive(("a.npy", header("", 2, len(BOMB), BOMB)), TARGET)),
    "a member that is a bomb": ("npz", archive(("a.npy", header(WIDE.format(True, 4, 5 << 26), data=BOMB)), TARGET)),
    "a member with a bomb behind it": ("npz", archive(("a.npy", npy(np.ones(4)) + BOMB), TARGET)),
    "rows without end": ("npz", archive(("a.npy", header(WIDE.format(False, 10**30, 1))), TARGET)),
    "code in a header": ("npz", archive(("a.npy", header(CODE.ljust(117) + "\n")), TARGET)),
    "an archive in an archive": ("npz", archive(("a.npy", archive(("a.npy", BOMB))), TARGET)),
    "an extension type that is pickled": (
        "parquet",
        table(field={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": PICKLE}),
    ),
    "a schema that is a pickle": ("parquet", table(metadata={"ARROW:schema": PICKLE})),
    "pandas metadata that is code": ("parquet", table(metadata={"pandas": CODE})),
    "a giant footer": ("parquet", b"PAR1" + bytes(8) + struct.pack("<I", 0xFFFFFFFF) + b"PAR1"),
}
# Files of features.
ARRAYS = {
    "pickles": OBJECTS,
    "a pickle": PICKLE,
    "a giant header": header("{", 2, 0xFFFFFFFF),
    "a deep header": header("(" * 5000),
    "a header that is code": header(CODE.ljust(117) + "\n"),
    "a header of a type that is code": header(f"{{'descr': {CODE!r}, 'fortran_order': False, 'shape': (4, 1)}}\n"),
    "a header that says objects": header("{'descr': '|O', 'fortran_order': False, 'shape': (4, 1)}\n", data=PICKLE),
    "features without end": header(WIDE.format(False, 4, 10**30)),
    "a gigabyte in a sample": b"\0\0\x08\x02" + struct.pack(">II", 4, 1 << 30),
    "columns first, larger than the file": header(WIDE.format(True, 4, 10**9)),
    "columns first, a bomb": gzip.compress(header(WIDE.format(True, 4, 5 << 26), data=BOMB), 1),
    "255 axes": b"\0\0\x08\xff" + b"\xff" * 1020,
}
# What a configuration says of its training data, and its exit code.
CONFIGS = {
    "a pipe": ('"pipe.csv"', 2),
    "a device": ('"/dev/zero"', 2),
    "the memory": ('"/proc/self/mem"', 2),
    "a link without end": ('"loop.csv"', 2),
    "a pipe of features": ('{ features = "pipe", targets = "run.toml" }', 2),
    "code": (f'"{CODE}"', 2),
    "a shell's command": ('"$(touch executed).csv"', 2),
    "a nest": ("[" * 5000 + "]" * 5000, 2),
    "a nest of tables": ("{a=" * 5000 + "1" + "}" * 5000, 2),
    "a long key": ("1\n" + "a." * 50_000 + "b = 1", 2),
    "a long number": ("9" * 100_000, 2),
    "a terminal's controls": ('"\\u001b[2J.csv"', 2),
}


def sealed(change):
    """A model's file after a change of what it says or holds, with the hash that fits."""

    def write(path, about, tensors):
        about, tensors = change(about, tensors)
        text = about if isinstance(about, str) else json.dumps(about, sort_keys=True)
        digest = hashlib.sha256(text.encode())
        for name in sorted(tensors):
            digest.update(f"\n{name} {tensors[name].dtype.str} {tensors[name].shape}\n".encode())
            digest.update(np.ascontiguousarray(tensors[name]).data)
        save_file(tensors, path, metadata={"distprop": text, "sha256": digest.hexdigest()})

    return write


def about(*keys, value):
    """Sets one value of what the file says of itself."""

    def change(content, tensors):
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        return content, tensors

    return sealed(change)


def raw(content):
    return lambda path, *_: path.write_bytes(content)


LAYER = {"type": "dense", "units": 1 << 39, "name": "dense_1", "inputs": ["input"], "initializer": 0.0}
MODELS = {
    "a pickle": raw(PICKLE),
    "an archive": raw(archive(("a.npy", OBJECTS))),
    "a giant header": raw((1 << 62).to_bytes(8, "little") + b"{}"),
    "a deep header": raw((60_000).to_bytes(8, "little") + b"[" * 60_000),
    "no description": raw(save({"dense_1.weight": np.zeros(2, np.float32)})),
    "a list": sealed(lambda content, tensors: ("[]", tensors)),
    "a deep description": sealed(lambda content, tensors: ("[" * 50_000, tensors)),
    "a description that is code": sealed(lambda content, tensors: (CODE, tensors)),
    "numbers that are objects": about("dtype", value="object"),
    "numbers of a type that is code": about("dtype", value=CODE),
    "another format": about("format", value="distprop model 99"),
    "no layers": about("network", "layers", value=[]),
    "an unknown layer": about("network", "layers", value=[{"type": "lambda", "code": CODE}]),
    "a giant layer": about("network", "layers", value=[LAYER, {"type": "dense", "units": 2}]),
    "a name that leads elsewhere": about("network", "layers", 0, "name", value="../../outside/secret"),
    "a giant shape": about("encoding", "shape", value=[1 << 50]),
    "a giant column": about("encoding", "columns", 0, "width", value=1 << 50),
    "another delimiter": about("encoding", "delimiter", value="\n"),
    "fewer classes": about("encoding", "target", "classes", value=["0"]),
    "no columns": about("encoding", "columns", value=[]),
    "a list of numbers without end": about("encoding", "columns", 0, "fill", value=[0.0] * 100_000),
    "other vectors": sealed(
        lambda content, tensors: (content, {name: a[..., :1].copy() for name, a in tensors.items()})
    ),
    "more vectors": sealed(lambda content, tensors: (content, tensors | {"x.mean": np.zeros(3)})),
    "a pipe": lambda path, *_: os.mkfifo(path),
    "a link without end": lambda path, *_: path.symlink_to(path.name),
    "a link to a device": lambda path, *_: path.symlink_to("/dev/zero"),
}


def files_of(home):
    """Cases by name: the arguments, and the exit codes that they may end with. Their files are made below `home`."""
    cases = {}

    def folder(name):
        path = home / str(len(cases)) / "inside"
        path.mkdir(parents=True)
        (path.parent / "outside").mkdir()
        (path.parent / "outside" / "secret").write_bytes(b"secret")
        for pipe in ("pipe", "pipe.csv"):
            os.mkfifo(path / pipe)
        (path / "loop.csv").symlink_to("loop.csv")
        cases[name] = path
        return path

    def train(path, data):
        (path / "run.toml").write_text(CONFIG.format(train=data))
        return ["train", f"{path}/run.toml", "-n", "2", "--run", f"{path}/run"]

    commands = {}
    for name, (ending, content) in TABLES.items():
        path = folder(f"a table: {name}")
        (path / f"train.{ending}").write_bytes(content)
        commands[path] = train(path, f'"train.{ending}"'), 3
    for name, content in ARRAYS.items():
        path = folder(f"an array: {name}")
        (path / "x.npy").write_bytes(content)
        (path / "y.npy").write_bytes(TARGET[1])
        commands[path] = train(path, '{ features = "x.npy", targets = "y.npy" }'), 3
    for name, (data, code) in CONFIGS.items():
        path = folder(f"a configuration: {name}")
        commands[path] = train(path, data), code
    network = dp.Network([dp.Standardise(), dp.Dense(2)], loss=dp.SoftmaxCrossEntropy())
    model = dp.train(network, dp.Dataset([[1.0], [2.0]], [0, 1]), epochs=1, batch_size=2, verbose=False).model
    model.save(home / "model.safetensors")
    for name, write in MODELS.items():
        path = folder(f"a model: {name}")
        content, tensors = load_tensors(home / "model.safetensors")
        write(path / "model", content, tensors)
        np.save(path / "x.npy", np.ones((2, 1)))
        commands[path] = (
            ["predict", f"{path}/model", f"{path}/x.npy", "-o", f"{path}/out.csv"],
            2 if "pipe" in name or "link" in name else 4,
        )
    return {name: (path, *commands[path]) for name, path in cases.items()}


NAMES = [f"{kind}: {name}" for kind, group in (("a table", TABLES), ("an array", ARRAYS),
         ("a configuration", CONFIGS), ("a model", MODELS)) for name in group]  # fmt: skip


@pytest.fixture(scope="module")
def found(faults):
    """What giving each case to the command line said and did."""
    with tempfile.TemporaryDirectory(prefix="distprop-test-") as base:
        cases = files_of(Path(base))
        list_ = Path(base) / "cases.json"
        list_.write_text(json.dumps({str(path): arguments for path, arguments, _ in cases.values()}))
        command = [sys.executable, faults.programs / "reading.py", list_]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PMI"))}
        done = subprocess.run(command, cwd=base, capture_output=True, text=True, timeout=400, env=environment)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert not list(Path(base).rglob("executed"))
        for name, (path, _, code) in cases.items():
            assert (path.parent / "outside" / "secret").read_bytes() == b"secret", name
            assert not (path / "run").exists() and not (path / "out.csv").exists(), name
            result[name] = result["outcomes"][str(path)] | {"expected": code}
        return result


@pytest.mark.parametrize("name", NAMES)
def test_it_is_refused_in_one_line_and_nothing_else_happens(found, name):
    verdict = found[name]
    assert verdict["did"] == []
    assert verdict["code"] == verdict["expected"], verdict["said"]
    said = verdict["said"].removesuffix("\n")
    assert said.isprintable() and 0 < len(said) < 800, said


def test_no_more_memory_is_taken_than_a_little(found):
    assert found["grown"] < MEMORY_MB


def test_what_must_not_happen_would_be_seen(found):
    seen = "\n".join(found["misbehaved"])
    assert all(event in seen for event in ("open /dev/null", "pickle.find_class", "compile", "exec"))
