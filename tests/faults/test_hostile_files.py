"""R17: checkpoints that somebody made on purpose. Nothing of them is executed, nothing outside is read or written.

All are loaded by one process, programs/audited.py, which sees every file that Python opens and all that it executes.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from distprop import manifest

PICKLE = b"cos\nsystem\n(S'touch executed'\ntR."  # would make a file
CASES: dict[str, Callable[[Path], None]] = {}


def case(name):
    """Adds a case: a function that makes a good checkpoint hostile. Beside its folder is one that is `outside`."""

    def add(make):
        CASES[name] = make
        return make

    return add


def seal(folder, **changes):
    """Write a manifest that fits these files, or says what an attacker wants it to say, with a right hash."""
    content = json.loads((folder / "manifest.json").read_text())
    for name in content["files"]:
        data = (folder / name).read_bytes()
        content["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_bytes(manifest._sealed_again(content | changes))


def outside(folder):
    return folder.parent.parent / "outside"


for name in ("../../outside/secret", "/etc/passwd", "..", "a/b.safetensors", "params.safetensors\n", "PARAMS", ""):

    @case(f"the file name {name!r}")
    def _(folder, name=name):
        seal(folder, files={name: {"bytes": 6, "sha256": "0" * 64}})


for name in ("params.safetensors", "manifest.json"):

    @case(f"{name} is a link")
    def _(folder, name=name):
        (folder / name).rename(outside(folder) / name)  # its content is right
        (folder / name).symlink_to(outside(folder) / name)

    @case(f"{name} is a link to a folder")
    def _(folder, name=name):
        (folder / name).unlink()
        (folder / name).symlink_to(outside(folder))

    @case(f"{name} is a pipe")  # opening one could wait for ever
    def _(folder, name=name):
        (folder / name).unlink()
        os.mkfifo(folder / name)


@case("the checkpoint is a link")
def _(folder):
    folder.rename(outside(folder) / "checkpoint")
    folder.symlink_to(outside(folder) / "checkpoint")


def described(*tensors):
    """A safetensors file with 12 bytes of data and any header."""
    texts = [
        f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{at}}}' for name, dtype, shape, at in tensors
    ]
    header = "{" + ",".join(texts) + "}"
    return len(header).to_bytes(8, "little") + header.encode() + bytes(12)


TENSORS = {
    "a giant header": (1 << 62).to_bytes(8, "little") + b"{}",
    "a header of two million bytes": (2_000_000).to_bytes(8, "little") + b"{" + b" " * 2_000_000,
    "a deep header": (60_000).to_bytes(8, "little") + b"[" * 60_000,
    "overlapping vectors": described(("params", "F32", [2], [0, 8]), ("b", "F32", [2], [4, 12])),
    "vectors beyond the file": described(("params", "F32", [10**12], [0, 4 * 10**12])),
    "negative offsets": described(("params", "F32", [3], [-12, 0])),
    "truth values": described(("params", "BOOL", [12], [0, 12])),
    "a matrix": described(("params", "F32", [1, 3], [0, 12])),
    "another name": described(("weights", "F32", [3], [0, 12])),
    "another length": described(("params", "F32", [3], [0, 12])),
    "nothing": described()[:-12],
    "a pickle": PICKLE,
    "an archive": b"PK\x03\x04",
}
for name, content in TENSORS.items():

    @case(f"a tensor file with {name}")
    def _(folder, content=content):
        (folder / "params.safetensors").write_bytes(content)
        seal(folder)


MANIFESTS = {
    "a pickle": PICKLE,
    "a list": b"[]",
    "a number": b"1" * 100_000,
    "deep": b"[" * 500_000,
    "a deep table": b'{"a":' * 100_000,
    "with NaN": b'{"step": NaN}',
    "giant": b" " * (4 << 20),
    "no text": b"\xff\xfe",
}
for name, content in MANIFESTS.items():

    @case(f"a manifest that is {name}")
    def _(folder, content=content):
        (folder / "manifest.json").write_bytes(content)


CHANGES = (
    {"schema": 2}, {"schema": None}, {"name": "../good"}, {"files": []}, {"files": {"params.safetensors": 7}},
    {"files": None}, {"files": {}}, {"progress": None}, {"progress": {"step": "7"}}, {"progress": []}, {"config": 3},
    {"progress": {"step": 7, "code": "import os"}, "files": []},
)  # fmt: skip
for changes in CHANGES:

    @case(f"a manifest with {changes}")
    def _(folder, changes=changes):
        seal(folder, **changes)


@pytest.fixture(scope="module")
def verdicts(faults):
    """What loading each case said and did; and what the process can see, tried out."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="distprop-test-") as base:
        good = faults.states.folder_with(Path(base) / "good", 6).path
        folders = {}
        for number, (name, make) in enumerate(CASES.items()):
            home = Path(base) / str(number)
            (home / "outside").mkdir(parents=True)
            (home / "outside" / "secret").write_bytes(b"secret")
            folders[name] = faults.states.folder_with(home / "checkpoints", 6).path
            make(next(folders[name].iterdir()))
        command = [sys.executable, faults.programs / "audited.py", good, *folders.values()]
        done = subprocess.run(command, cwd=base, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        assert not (Path(base) / "executed").exists()
        for name, folder in folders.items():
            assert (folder.parent / "outside" / "secret").read_bytes() == b"secret", name
        found = json.loads(done.stdout)
        by_name = {name: found["outcomes"][str(folder)] for name, folder in folders.items()}
        return by_name, found["misbehaved"]


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_line_and_nothing_else_happens(verdicts, name):
    verdict = verdicts[0][name]
    assert verdict["did"] == []
    assert "/checkpoints/step-0000000006-epoch-000001" in verdict["said"] and "\n" not in verdict["said"]


def test_what_must_not_happen_would_be_seen(verdicts):
    seen = "\n".join(verdicts[1])
    assert all(event in seen for event in ("open /dev/null", "pickle.find_class", "compile", "exec"))
