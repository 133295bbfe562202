"""Where distprop keeps what it can make again: compiled kernels and prepared data."""

import os
from pathlib import Path

from distprop.errors import UsageError


def cache_folder(kind: str) -> Path:
    """Folder for one kind of cached files ("kernels", "data"): in $DISTPROP_CACHE, or in the user's cache folder."""
    base = os.environ.get("DISTPROP_CACHE")
    if base:
        return Path(base) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "distprop" / kind


def _home() -> Path:
    """Containers run under numbers that no user has."""
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError("this user has no home folder; set DISTPROP_CACHE to a folder that can be written") from None
