"""The independent implementation of networks, as a fixture."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """See oracle.py beside this file."""
    spec = importlib.util.spec_from_file_location("network_oracle", Path(__file__).with_name("oracle.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
