"""The programs beside these tests, as modules: what runs in a process of its own and what doesn't share them."""

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

PROGRAMS = Path(__file__).parent / "programs"
SHORT_SEED = 20261125  # of the short tier, so that it is the same everywhere; the long tier adds its own


@pytest.fixture(scope="session")
def faults() -> SimpleNamespace:
    """Modules calls, states and power; the folder `programs`; and a seed."""
    sys.path.insert(0, str(PROGRAMS))
    try:
        modules = {name: importlib.import_module(name) for name in ("calls", "states", "power")}
    finally:
        sys.path.remove(str(PROGRAMS))
    return SimpleNamespace(**modules, programs=PROGRAMS, seed=SHORT_SEED)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, if there is one, for what is written and removed thousands of times."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="distprop-test-") as folder:
        yield Path(folder)
