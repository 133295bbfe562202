"""How every kernel is compiled: the one place for compile flags and for the folder of compiled code.

No fastmath: it would let LLVM reorder sums and drop checks for NaN, and the bits of a model would depend on the CPU.
LLVM doesn't contract a * b + c by itself without it; a fused multiply-add is always an explicit `fma`.
"""

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba

from distprop.paths import cache_folder

numba_config: Any = numba.core.config


@functools.cache
def kernel_cache() -> Path:
    """The folder of compiled kernels for these sources, this Numba and this CPU.

    Numba notices that a function's own file has changed, not that a function called from another file has;
    so the folder's name is a hash of all kernel sources. It is private: Numba's index files are pickles.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    digest.update(f"{numba.__version__} {llvmlite.__version__} {os.environ.get('NUMBA_CPU_NAME', 'host')}".encode())
    try:
        folder = cache_folder("kernels") / digest.hexdigest()[:16]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:  # a home that can't be written, as in some containers
        own = tempfile.mkdtemp(prefix="distprop-kernels-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return Path(own)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile when first called, cached on disk, without the interpreter lock, with the laws of floating point kept."""
    if function is None:
        return functools.partial(kernel, **options)
    previous = numba_config.CACHE_DIR  # other users of Numba in this process keep theirs
    numba_config.CACHE_DIR = str(kernel_cache())
    try:
        return numba.njit(cache=True, fastmath=False, nogil=True, error_model="numpy", **options)(function)
    finally:
        numba_config.CACHE_DIR = previous


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that is always inlined into the kernels that call it (never cached by itself)."""
    return numba.njit(fastmath=False, nogil=True, error_model="numpy", forceinline=True)(function)


def pasted(function: Callable[..., Any]) -> Any:
    """Paste a function into the kernels that call it before they are compiled: for large bodies, which would else be
    optimised once for themselves and again in every caller."""
    return numba.njit(fastmath=False, nogil=True, error_model="numpy", inline="always")(function)
