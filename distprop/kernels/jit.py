"""How every kernel is compiled: the one place for compile flags and for the folder of compiled code.

No fastmath: it would let LLVM reorder sums and drop checks for NaN, and the bits of a model would depend on the CPU.
LLVM doesn't contract a * b + c by itself without it; a fused multiply-add is always an explicit `fma`.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

from distprop.files import written_whole
from distprop.paths import kernel_folder

PATIENCE_S = 100.0  # with another process that compiles a function
LOOK_S = 0.02
SUM_BYTES = 32  # of SHA-256


@functools.cache
def kernel_cache() -> Path:
    """The folder of compiled kernels, made if need be and possible: without one, each process compiles for itself."""
    with contextlib.suppress(OSError):  # a home that can't be written, as in some containers
        _make_folder()
    return kernel_folder()


def _make_folder() -> None:
    """It is private: Numba's files are pickles."""
    kernel_folder().mkdir(mode=0o700, parents=True, exist_ok=True)


class _Lock:
    """Lets one process compile a function. It is no more than a courtesy: who has waited too long goes on without."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def take(self, patience_s: float) -> bool:
        """Whether we have it: not if another process keeps it for so long."""
        self.release()  # a compilation that failed left it taken
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:  # a folder that is gone, full, or not ours to write to
            return True
        until = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(LOOK_S)
            except OSError:  # a file system without locks
                return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Place(caching._CacheLocator):
    """All kernels in one folder, wherever their sources are installed."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._line, self._file = function.__code__.co_firstlineno, file

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> "_Place":
        return cls(function, file)

    def get_cache_path(self) -> str:
        return str(kernel_cache())

    def ensure_cache_path(self) -> None:
        _make_folder()  # anew, if somebody has removed it

    def get_source_stamp(self) -> str:
        return _content(self._file)

    def get_disambiguator(self) -> str:
        return str(self._line)


class _Parts(caching.CompileResultCacheImpl):
    _locator_classes: list[type[object]] = [_Place]  # noqa: RUF012 (as in Numba)


class _Files(caching.IndexDataCacheFile):
    """A function's compiled code, a file for each signature, which begins with a sum of all that it depends on.

    Damaged machine code would crash or compute something else, and so would that of other sources or another CPU. What
    isn't here as it was written here counts as missing.
    """

    def __init__(self, base: str, stamp: str) -> None:
        self._base, self._stamp = base, stamp

    def load(self, key: Any) -> Any:
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        if content[:SUM_BYTES] != self._sum(path, content[SUM_BYTES:]):
            return None
        found, data = pickle.loads(content[SUM_BYTES:])
        return data if found == key else None

    def save(self, key: Any, data: Any) -> None:
        path, content = self._path(key), dumps((key, data))
        with written_whole(path, durable=False) as temporary:
            temporary.write_bytes(self._sum(path, content) + content)

    def _path(self, key: Any) -> Path:
        return kernel_cache() / f"{self._base}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _sum(self, path: Path, content: bytes) -> bytes:
        """The folder's name stands for the sources, for Numba and for the CPU."""
        place = f"{path.parent.name} {path.name} {self._stamp} ".encode()
        return hashlib.sha256(place + content).digest()


class _Cache(caching.FunctionCache):
    """Numba's cache of a function, without what takes time at each start; one process at a time compiles a function."""

    _impl_class = _Parts

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _Files(self._impl.filename_base, self._impl.locator.get_source_stamp())
        self._lock = _Lock(kernel_cache() / f"{self._impl.filename_base}.lock")

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function for a signature; None if it isn't there or can't be read, so that it is compiled.

        Numba's own method makes everything ready to compile before it looks, which takes longer than all the rest of
        a start. Code that is loaded needs no more than the functions of Numba's runtime.
        """
        rtsys.initialize(target)
        loaded = self._load_overload(signature, target)
        if loaded is None:
            self._lock.take(PATIENCE_S)
            loaded = self._load_overload(signature, target)  # it may have come while we waited
            if loaded is not None:
                self._lock.release()
        return loaded

    def save_overload(self, signature: Any, compiled: Any) -> None:
        with contextlib.suppress(OSError):  # it only costs time, the next process's
            super().save_overload(signature, compiled)
        self._lock.release()

    def is_being_compiled(self) -> bool:
        """Whether another process is at it right now, or another thread."""
        probe = _Lock(self._lock.path)
        taken = probe.take(0.0)
        probe.release()
        return not taken


@functools.cache
def _content(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait. LLVM calls Python functions, and what a signal's handler raises in one of them is lost."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[Any, ...]] = []
    signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for arguments in held:
            handler(*arguments)


_engine = cpu_target.target_context.codegen()._engine  # makes and loads all machine code
_engine.finalize_object = _interrupts_held()(_engine.finalize_object)


def kernel(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile when first called, cached on disk, without the interpreter lock, with the laws of floating point kept."""
    if function is None:
        return functools.partial(kernel, **options)
    dispatcher = numba.njit(fastmath=False, nogil=True, error_model="numpy", **options)(function)
    dispatcher._cache = _Cache(function)
    return dispatcher


def compile_all(wanted: Iterable[tuple[Any, tuple[Any, ...]]]) -> None:
    """Compile kernels, each for the types of its arguments, or load them.

    Processes that do so at the same time share the work: each goes in an order of its own, past what another one is at.
    """
    pairs = list(dict.fromkeys(wanted))
    random.Random(os.getpid()).shuffle(pairs)
    later = []
    for function, types in pairs:
        if function._cache.is_being_compiled():
            later.append((function, types))
        else:
            function.compile(types)
    for function, types in later:
        function.compile(types)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that is always inlined into the kernels that call it (never cached by itself)."""
    return numba.njit(fastmath=False, nogil=True, error_model="numpy", forceinline=True)(function)


def pasted(function: Callable[..., Any]) -> Any:
    """Paste a function into the kernels that call it before they are compiled: for large bodies, which would else be
    optimised once for themselves and again in every caller."""
    return numba.njit(fastmath=False, nogil=True, error_model="numpy", inline="always")(function)
