"""Where distprop keeps what it can make again: compiled kernels and prepared data."""

import functools
import hashlib
import os
import platform
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path

from distprop.errors import UsageError

_KERNELS = Path(__file__).parent / "kernels"
_OTHER_CPU = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")  # to compile for
_CPU_LINES = ("vendor_id", "cpu family", "model", "flags", "CPU implementer", "CPU part", "Features")


def cache_folder(kind: str) -> Path:
    """Folder for one kind of cached files ("kernels", "data"): in $DISTPROP_CACHE, or in the user's cache folder."""
    base = os.environ.get("DISTPROP_CACHE")
    if base:
        return Path(base) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "distprop" / kind


def cache_variables() -> dict[str, str]:
    """What has other hosts use the same folder, if one was chosen."""
    base = os.environ.get("DISTPROP_CACHE")
    return {"DISTPROP_CACHE": str(Path(base).absolute())} if base else {}


@functools.cache
def kernel_sources() -> str:
    """A hash of all kernels' sources."""
    digest = hashlib.sha256()
    for source in sorted(_KERNELS.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


@functools.cache
def kernel_folder() -> Path:
    """The folder of kernels compiled from these sources, by this Numba, for this CPU; it may not be there yet.

    Found without importing Numba, so the launching side knows it too. Numba notices that a function's own file has
    changed, not that a function called from another file has; so the name is a hash of all kernel sources. Machines
    with other CPUs may share a home folder.
    """
    digest = hashlib.sha256(kernel_sources().encode())
    target = [os.environ.get(name) for name in _OTHER_CPU]
    digest.update(repr((version("numba"), version("llvmlite"), target, _cpu())).encode())
    return cache_folder("kernels") / digest.hexdigest()[:16]


def _cpu() -> str:
    """What the first CPU is and what it can do."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            lines = list(takewhile(str.strip, file))
    except OSError:  # not on Linux
        return f"{platform.machine()} {platform.processor()}"
    return platform.machine() + "".join(line for line in lines if line.partition(":")[0].strip() in _CPU_LINES)


def _home() -> Path:
    """Containers run under numbers that no user has."""
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("this user has no home folder; set DISTPROP_CACHE to a folder that can be written") from None
