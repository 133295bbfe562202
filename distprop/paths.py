"""Where distprop keeps what it can make again: compiled kernels and prepared data."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """Folder for one kind of cached files ("kernels", "data"): in $DISTPROP_CACHE, or in the user's cache folder."""
    base = os.environ.get("DISTPROP_CACHE")
    if base:
        return Path(base) / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distprop" / kind
