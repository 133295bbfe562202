"""Arrays in safetensors files: other programs can read them, and nothing in them is executed.

A model's file carries the SHA-256 of its own content; a checkpoint's files have theirs in the manifest beside them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import safetensors
from safetensors.numpy import save_file

from distprop.errors import CheckpointError
from distprop.files import written_whole

Array: TypeAlias = npt.NDArray[Any]

NAMES = {"float32": "F32", "float64": "F64"}  # of types, in a header
HEADER_BYTES = 1 << 16  # at most, of vectors: a few hundred are usual
LENGTH_BYTES = 8  # in front of the header


def pieces_of(vectors: Mapping[str, Array]) -> list[memoryview]:
    """The bytes of a safetensors file that holds vectors of float32 or float64. They are not copied.

    >>> from safetensors.numpy import load
    >>> load(b"".join(pieces_of({"params": np.arange(3.0)})))
    {'params': array([0., 1., 2.])}
    """
    header: dict[str, Any] = {}
    pieces, end = [], 0
    for name, vector in vectors.items():
        piece = np.ascontiguousarray(vector).view(np.uint8).data
        begin, end = end, end + len(piece)
        header[name] = {"dtype": NAMES[vector.dtype.name], "shape": list(vector.shape), "data_offsets": [begin, end]}
        pieces.append(piece)
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % LENGTH_BYTES)
    return [memoryview(len(text).to_bytes(LENGTH_BYTES, "little") + text), *pieces]


def load_vectors(path: Path) -> dict[str, Array]:
    """Read a file of `pieces_of`. Raises CheckpointError that names the file if it is something else.

    Who has written it must have been made sure of before.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if length > HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes")
        with safetensors.safe_open(path, framework="numpy") as file:
            vectors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be read: {error}") from None
    for name, vector in vectors.items():
        if vector.ndim != 1 or vector.dtype.name not in NAMES:
            raise CheckpointError(f"{path}: {name} is no vector of float32 or float64")
    return vectors


def save_tensors(path: Path, tensors: Mapping[str, Array], about: Mapping[str, object]) -> None:
    """Write arrays, a JSON object and the SHA-256 of both to a safetensors file, which appears whole or not at all.

    Raises CheckpointError that names the file.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    text = json.dumps(about, sort_keys=True, allow_nan=False)
    try:
        with written_whole(path) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # what the user wants for new files; save_file's are private
            save_file(arrays, temporary, metadata={"distprop": text, "sha256": _content_digest(text, arrays)})
            temporary.chmod(mode)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {error.strerror or error}") from error
    except (ValueError, safetensors.SafetensorError) as error:  # the former: a path without a name
        raise CheckpointError(f"{path}: can't be written: {error}") from error


def load_tensors(path: Path) -> tuple[dict[str, object], dict[str, Array]]:
    """Read what save_tensors wrote. Raises CheckpointError that names the file if any bit of it is wrong."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe could wait for ever
            raise CheckpointError(f"{path}: can't be read: is no regular file")
        path.open("rb").close()  # safetensors calls whatever it can't open missing
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except PermissionError as error:
        raise CheckpointError(f"{path}: can't be read: {error.strerror}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be read: {error}") from None
    if "distprop" not in metadata:
        raise CheckpointError(f"{path}: not a file of distprop's")
    if metadata.get("sha256") != _content_digest(metadata["distprop"], tensors):
        raise CheckpointError(f"{path}: damaged: its content has another SHA-256 than when it was written")
    return _object(path, metadata["distprop"]), tensors


def _object(path: Path, text: str) -> dict[str, object]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        raise CheckpointError(f"{path}: what it says about itself is no JSON object")
    return about


def _content_digest(about: str, tensors: Mapping[str, Array]) -> str:
    digest = hashlib.sha256(about.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
