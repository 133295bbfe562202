"""Folders whose content can be trusted: the size and SHA-256 of each file are in a manifest, which is written last.

    NAME/manifest.json    {"name": NAME, ..., "files": {FILE: {"bytes": ..., "sha256": ...}}, "sha256": of all the rest}
    NAME/FILE ...

A folder is made under a temporary name. Its files, the manifest and the folder itself are forced to disk before it is
renamed, and its parent after that. So a name stands for all that was written or isn't there, whenever the process dies,
the disk is full or the power fails. What fails on the way is thrown away, never tried again: after a failed fsync the
kernel may drop what it could not write and call the next fsync a success.

The format of manifests is called a schema and has a number. Nothing here needs more than the standard library.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distprop.errors import CheckpointError
from distprop.files import sync

MANIFEST = "manifest.json"
SCHEMA = 1
PIECE_BYTES = 1 << 18  # stays in the cache between what is done with it
MOST_BYTES = 1 << 20  # of a manifest: far more than any has
_FILE = re.compile(r"[a-z]+\.safetensors")  # the only names that a manifest may have: they lead nowhere else


@dataclass(frozen=True)
class Sum:
    """What a file must have to be the one that was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """about: what the writer said of the folder. files: the sums of all its files by name."""

    about: Mapping[str, Any]
    files: Mapping[str, Sum]


def write_folder(folder: Path, files: Mapping[str, Iterable[memoryview]], about: Mapping[str, Any]) -> None:
    """Write files and their manifest, durably: when this returns, `folder` has them whatever happens next.

    A folder that has this name already is replaced. Raises CheckpointError that names the file that can't be written;
    then nothing of the new folder is left, unless only its last step has failed: then it may not outlive a loss of
    power.
    """
    partial = temporary_name(folder)
    try:
        with _named(partial, folder):
            partial.mkdir()
            sums = {name: write_file(partial / name, pieces) for name, pieces in files.items()}
            write_file(partial / MANIFEST, [memoryview(_sealed(folder.name, sums, about))])
            sync(partial)
            replaced = _take_place(partial, folder)
            sync(folder.parent)
    finally:
        _remove(partial)
    if replaced:
        _remove(replaced)


def _take_place(partial: Path, folder: Path) -> Path | None:
    """Rename; where a folder is that has this name already, it gets a temporary one, which is returned."""
    replaced = retire(folder) if folder.exists() else None
    try:
        partial.rename(folder)
    except OSError:
        if replaced:
            with suppress(OSError):
                replaced.rename(folder)
        raise
    return replaced


def write_file(path: Path, pieces: Iterable[memoryview]) -> Sum:
    """Write bytes to a new file and force them to disk. OSError names the file."""
    digest, size = hashlib.sha256(), 0
    with _naming(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            for piece in pieces:
                for first in range(0, len(piece), PIECE_BYTES):
                    part = piece[first : first + PIECE_BYTES]
                    digest.update(part)
                    _write_all(descriptor, part)
                size += len(piece)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    return Sum(size, digest.hexdigest())


def remove_folders(folders: Iterable[Path]) -> None:
    """Remove folders so that none is ever seen half removed, even after a loss of power.

    OSError if it can't be done. What stays then has a temporary name, and is removed as a leftover.
    """
    retired = [retire(folder) for folder in folders]
    if retired:
        sync(retired[0].parent)
    for leftover in retired:
        _remove(leftover)


def _remove(folder: Path) -> None:
    """Remove a folder as far as that goes."""
    with suppress(OSError):  # rmtree lets some through
        shutil.rmtree(folder, ignore_errors=True)


def retire(folder: Path) -> Path:
    """Give a folder a temporary name, and return it."""
    retired = temporary_name(folder)
    folder.rename(retired)
    return retired


def temporary_name(folder: Path) -> Path:
    """A name in the same place that no reader takes for a finished folder."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def remove_leftovers(parent: Path, name: str) -> None:
    """Remove the temporary folders that dead processes have left of folders whose names the pattern `name` matches."""
    whole = re.compile(rf"\.(?:{name})\.[0-9a-f]{{8}}")
    for path in parent.iterdir() if parent.is_dir() else ():
        if whole.fullmatch(path.name) and _is_folder(path):
            _remove(path)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; its files aren't looked at. Raises CheckpointError that names what is wrong."""
    path = folder / MANIFEST
    if not _is_folder(folder):
        raise CheckpointError(f"{folder}: is no folder")
    with _opened(path) as descriptor:
        text = os.read(descriptor, MOST_BYTES)
    try:
        content = json.loads(text)
        whole = _sealed_again(content) == text
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        whole = False
    if not whole:
        raise CheckpointError(f"{path}: damaged: it isn't as it was written")
    try:
        return _checked(folder, content)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise CheckpointError(f"{path}: no manifest of this version of distprop ({error})") from None


def check_folder(folder: Path) -> Manifest:
    """Compare every file with the manifest. Raises CheckpointError that names the first that isn't as written."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        check_file(folder / name, expected)
    for name in sorted({path.name for path in folder.iterdir()} - {MANIFEST, *manifest.files}):
        raise CheckpointError(f"{folder / name}: foreign: the manifest beside it doesn't name this file")
    return manifest


def check_file(path: Path, expected: Sum) -> None:
    """Raise CheckpointError, which names the file, unless it is the one that was written."""
    with _opened(path) as descriptor:
        size = os.fstat(descriptor).st_size
        if size != expected.bytes:
            raise CheckpointError(f"{path}: damaged: it has {size} bytes, but {expected.bytes} were written")
        found = _sum(descriptor)
    if found != expected:
        raise CheckpointError(f"{path}: damaged: its content has another SHA-256 than when it was written")


def sum_of(path: Path) -> Sum:
    """Size and SHA-256 of a file. Raises CheckpointError that names it if it can't be read."""
    with _opened(path) as descriptor:
        return _sum(descriptor)


def _sum(descriptor: int) -> Sum:
    digest, size, piece = hashlib.sha256(), 0, memoryview(bytearray(PIECE_BYTES))
    while length := os.readv(descriptor, [piece]):
        digest.update(piece[:length])
        size += length
    return Sum(size, digest.hexdigest())


def _write_all(descriptor: int, part: memoryview) -> None:
    while len(part):
        part = part[os.write(descriptor, part) :]


def _sealed(name: str, sums: Mapping[str, Sum], about: Mapping[str, Any]) -> bytes:
    """The text of a manifest."""
    files = {file: {"bytes": one.bytes, "sha256": one.sha256} for file, one in sums.items()}
    return _sealed_again({**about, "schema": SCHEMA, "name": name, "files": files})


def _sealed_again(content: Mapping[str, Any]) -> bytes:
    """A manifest's values as text, with the hash that belongs to them. Equal values have one text only."""
    open_content = {key: value for key, value in content.items() if key != "sha256"}
    digest = hashlib.sha256(_text(open_content)).hexdigest()
    return _text({**open_content, "sha256": digest})


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode("ascii")


def _checked(folder: Path, content: dict[str, Any]) -> Manifest:
    """Values that belong together, but may have been made by anyone."""
    if content["schema"] != SCHEMA:
        raise ValueError(f"schema {content['schema']}, not {SCHEMA}")
    if content["name"] != folder.name:
        raise ValueError(f"it is that of {content['name']!r}")
    for name in content["files"]:
        if not _FILE.fullmatch(name):
            raise ValueError(f"the file name {name!r} is not allowed")
    files = {name: Sum(int(one["bytes"]), str(one["sha256"])) for name, one in content["files"].items()}
    about = {key: value for key, value in content.items() if key not in ("schema", "name", "files", "sha256")}
    return Manifest(about, files)


def _is_folder(path: Path) -> bool:
    """A folder itself, not a link to one."""
    return path.is_dir() and not path.is_symlink()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor to read a regular file by, which is closed after use. Links are not followed, pipes not waited for.

    Raises CheckpointError that names the file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(f"{path}: {_reason(error)}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CheckpointError(f"{path}: is no regular file")
        yield descriptor
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "is missing"
    if error.errno == errno.ELOOP:
        return "is a link, which is not followed"
    return f"can't be read: {error.strerror}"


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give errors of calls that know only a descriptor the file's name."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


@contextmanager
def _named(partial: Path, folder: Path) -> Iterator[None]:
    """Turn an OSError into one that names the file as the user would see it."""
    try:
        yield
    except OSError as error:
        file = Path(os.fsdecode(error.filename or folder))
        shown = folder / file.name if file.parent == partial else folder
        raise CheckpointError(f"{shown}: can't be written: {error.strerror or error}") from error
