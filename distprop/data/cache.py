"""Folders of prepared arrays that are made once: under a lock, with a temporary name, checked when they are opened."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distprop.data.array_file import sha256
from distprop.data.encoding import Encoding
from distprop.errors import DataError
from distprop.files import locked, sync

FORMAT = 1  # raise it whenever the same options would give other arrays

Index = dict[str, Any]


def key_of(paths: list[Path], options: object) -> str:
    """A name for what these files and options give: another size, time of change or option gives another key."""
    files = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    text = json.dumps([FORMAT, files, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def prepared_once(base: Path, key: str, make: Callable[[Path], Encoding]) -> tuple[Path, Index]:
    """The folder base/key and its index. `make` fills an empty folder, if there is none yet or it is damaged.

    Other processes that want the same folder wait. Raises DataError if the cache folder can't be written.
    """
    folder = base / key
    index = read_index(folder)
    if index is not None:
        return folder, index
    try:
        base.mkdir(parents=True, exist_ok=True)
        with locked(base / f"{key}.lock"):
            index = read_index(folder)
            if index is None:
                _make(folder, make)
                index = read_index(folder)
    except OSError as error:
        raise DataError(
            f"{base}: {error.strerror or error}; set DISTPROP_CACHE to a folder with room to write"
        ) from None
    assert index is not None
    return folder, index


def read_index(folder: Path) -> Index | None:
    """The index of a prepared folder, None if it is missing or doesn't fit the files beside it."""
    try:
        index: Index = json.loads((folder / "index.json").read_text())
        sizes = {name: (folder / name).stat().st_size for name in index["arrays"]}
        whole = index["format"] == FORMAT and all(
            sizes[name] == array["bytes"] for name, array in index["arrays"].items()
        )
        Encoding.from_json(json.dumps(index["encoding"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return index if whole else None


def _make(folder: Path, make: Callable[[Path], Encoding]) -> None:
    # The lock is ours, so whatever has this name is left from a process that died.
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (partial, folder):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        encoding = make(partial)
        _write_index(partial, encoding)
        partial.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_index(folder: Path, encoding: Encoding) -> None:
    arrays = {}
    for path in sorted(folder.rglob("*.npy")):
        sync(path)
        arrays[str(path.relative_to(folder))] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    index = {"format": FORMAT, "arrays": arrays, "encoding": encoding.to_object()}
    path = folder / "index.json"
    path.write_text(json.dumps(index, indent=1))
    for each in (path, *(sub for sub in folder.iterdir() if sub.is_dir()), folder):
        sync(each)
