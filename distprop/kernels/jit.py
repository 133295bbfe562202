"""How every kernel is compiled: the one place for compile flags and for the folder of compiled code.

No fastmath: it would let LLVM reorder sums and drop checks for NaN, and the bits of a model would depend on the CPU.
LLVM doesn't contract a * b + c by itself without it; a fused multiply-add is always an explicit `fma`.
"""

import atexit
import functools
import hashlib
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.runtime import rtsys

from distprop.paths import kernel_folder


@functools.cache
def kernel_cache() -> Path:
    """The folder of compiled kernels, made if need be. It is private: Numba's files are pickles."""
    try:
        folder = kernel_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:  # a home that can't be written, as in some containers
        own = tempfile.mkdtemp(prefix="distprop-kernels-")
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return Path(own)


class _Place(caching._CacheLocator):
    """All kernels in one folder, wherever their sources are installed."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._line, self._file = function.__code__.co_firstlineno, file

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Place":
        return cls(function, file)

    def get_cache_path(self) -> str:
        return str(kernel_cache())

    def get_source_stamp(self) -> str:
        return _content(self._file)

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Files(caching.CompileResultCacheImpl):
    _locator_classes = (_Place,)


class _Cache(caching.FunctionCache):
    """Numba's cache of a function, without what takes time at each start."""

    _impl_class = _Files

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function for a signature; None if it isn't there or can't be read, so that it is compiled.

        Numba's own method makes everything ready to compile before it looks, which takes longer than all the rest of
        a start. Code that is loaded needs no more than the functions of Numba's runtime.
        """
        rtsys.initialize(target)
        try:
            return self._load_overload(signature, target)
        except (EOFError, pickle.UnpicklingError):  # cut short by a loss of power
            self.flush()
            return None


@functools.cache
def _content(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile when first called, cached on disk, without the interpreter lock, with the laws of floating point kept."""
    if function is None:
        return functools.partial(kernel, **options)
    dispatcher = numba.njit(fastmath=False, nogil=True, error_model="numpy", **options)(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that is always inlined into the kernels that call it (never cached by itself)."""
    return numba.njit(fastmath=False, nogil=True, error_model="numpy", forceinline=True)(function)


def pasted(function: Callable[..., Any]) -> Any:
    """Paste a function into the kernels that call it before they are compiled: for large bodies, which would else be
    optimised once for themselves and again in every caller."""
    return numba.njit(fastmath=False, nogil=True, error_model="numpy", inline="always")(function)
