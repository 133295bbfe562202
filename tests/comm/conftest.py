"""Fixtures of the communicators' tests: one set of checks for every communicator."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

CHECKS = Path(__file__).with_name("collective_checks.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("collective_checks", CHECKS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def collective_checks() -> dict[str, Callable[..., None]]:
    """Checks by name; each takes a communicator and is called on every rank."""
    return dict(_load().CHECKS)


@pytest.fixture(scope="session")
def checks_program() -> Path:
    """A program that runs all checks on MPI ranks."""
    return CHECKS
