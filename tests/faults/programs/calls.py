"""Stands between Python and the operating system: every call below one folder is counted, told, and may fail."""

import functools
import os
import pathlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

NAMES = (
    "open", "close", "read", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "stat", "lstat",
    "fstat", "listdir", "scandir", "truncate", "ftruncate",
)  # fmt: skip
PAIRS = ("rename", "replace")

Before = Callable[[int, str, Path, tuple[Any, ...]], None]
After = Callable[[str, Path, tuple[Any, ...], Any], None]


class Calls:
    """Within this context, calls of `os` on what is below `root` are told before and after they are done.

    before(number, name, path, arguments) may raise, or end the process; numbers count from 0.
    after(name, path, arguments, result).
    """

    def __init__(self, root: Path, before: Before | None = None, after: After | None = None) -> None:
        self.root, self._before, self._after = str(root), before, after
        self.count = 0
        self._descriptors: dict[int, str] = {}
        self._patches = ExitStack()

    def __enter__(self) -> "Calls":
        accessor = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10 has its own references
        for name in NAMES:
            call = functools.partial(self._call, name, getattr(os, name))
            self._patches.enter_context(mock.patch.object(os, name, call))
            if accessor is not None and hasattr(accessor, name):
                self._patches.enter_context(mock.patch.object(accessor, name, staticmethod(call)))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        path = self._path(arguments[0] if arguments else ".", options.get("dir_fd"))
        if path is None:
            return real(*arguments, **options)
        number, self.count = self.count, self.count + 1
        if self._before:
            self._before(number, name, Path(path), arguments)
        result = real(*arguments, **options)
        if name == "open":
            self._descriptors[result] = path
        elif name == "close":
            self._descriptors.pop(arguments[0], None)
        if self._after:
            self._after(name, Path(path), arguments, result)
        return result

    def _path(self, subject: Any, folder: int | None) -> str | None:
        """The path that a call is about, if it is below the root."""
        if isinstance(subject, int):
            path = self._descriptors.get(subject)
        else:
            path = os.fsdecode(os.fspath(subject))
            if folder is not None:
                path = os.path.join(self._descriptors.get(folder, ""), path)  # noqa: PTH118
        inside = path is not None and (path == self.root or path.startswith(self.root + os.sep))
        return path if inside else None
