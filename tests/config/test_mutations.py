"""Random changes to a configuration: whatever comes of them, nothing but ConfigError is raised."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from distprop.config import load_config
from distprop.config.adapters import adapter
from distprop.config.problems import json_tree
from distprop.config.run import Config
from distprop.config.toml import parse
from distprop.config.tree import from_tree
from distprop.errors import ConfigError

SOUND = """\
seed = 3
data = { train = "train.csv", validation_fraction = 0.25, columns = { target = "species" } }
optimizer = { type = "momentum", momentum = 0.5 }
schedule = { type = "cosine" }
training = { epochs = 4, early_stopping = { patience = 2 } }
launch = { hosts = "a:2" }

[network]
loss = { type = "softmax_cross_entropy", class_weights = [1, 2, 3] }
layers = [
    { type = "dense", units = 16 },
    { type = "add", inputs = ["dense_1", "dense_1"] },
    { type = "dense", units = 3 },
]
"""

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
WORDS = st.sampled_from(["type", "dense", "units", "momentum", "inputs", "name", "train", "input", "data", "a.npy"])
DOTTED = st.lists(WORDS | TEXT, min_size=1, max_size=4).map(".".join)
MARKS = st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"=", b"\n"])
LEAVES = WORDS | TEXT | st.integers(-3, 2**70) | st.booleans() | st.floats() | st.datetimes() | st.dates() | st.times()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | TEXT, inner, max_size=3), max_leaves=6
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    (folder / "train.csv").touch()
    return folder / "run.toml"


def loads_or_refuses(path: Path, overrides: list[str]) -> None:
    start = time.process_time()
    try:
        load_config(path, overrides)
    except ConfigError as error:
        assert error.problems
        assert all(line.isprintable() for line in error.problems)
    assert time.process_time() - start < 3


def agrees_with_pydantic(tree: Any) -> bool:
    """Whether the tree is a configuration; if so, Pydantic reads the same from it."""
    try:
        config = from_tree(Config, tree)
    except ValueError:
        return False
    assert repr(adapter(Config).validate_json(json.dumps(json_tree(tree)))) == repr(config)
    return True


def mutate(data: st.DataObject, node: Any) -> None:
    """Replace, add or drop something at a random place."""
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = data.draw(st.sampled_from(keys)) if keys else None
    if key is not None and isinstance(node[key], dict | list) and data.draw(st.integers(0, 3)):
        mutate(data, node[key])
    elif key is not None and data.draw(st.booleans()):
        node[key] = data.draw(VALUES)
    elif isinstance(node, dict):
        node[data.draw(WORDS | TEXT)] = data.draw(VALUES)
    elif key is not None:
        del node[key]


def test_the_configuration_that_is_changed_is_right(path: Path) -> None:
    path.write_text(SOUND)
    load_config(path)
    assert agrees_with_pydantic(parse(SOUND, path))


@settings(max_examples=100)
@given(st.data())
def test_a_mutated_tree_loads_or_is_refused(path: Path, data: st.DataObject) -> None:
    tree = parse(SOUND, path)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data, tree)
    agrees_with_pydantic(tree)
    path.write_text(tomli_w.dumps(tree), encoding="utf-8")
    loads_or_refuses(path, [])


@settings(max_examples=60)
@given(st.data())
def test_mutated_bytes_load_or_are_refused(path: Path, data: st.DataObject) -> None:
    content = bytearray(SOUND.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=2) | MARKS)
    path.write_bytes(bytes(content))
    loads_or_refuses(path, [])


@settings(max_examples=60)
@given(st.lists(st.builds("{}={}".format, DOTTED, WORDS | TEXT), min_size=1, max_size=3))
def test_any_override_is_taken_or_refused(path: Path, overrides: list[str]) -> None:
    path.write_text(SOUND)
    loads_or_refuses(path, overrides)
    loads_or_refuses(path, ["network.layers.0." + overrides[0]])


@pytest.mark.long
@settings(max_examples=20_000)
@given(st.data())
def test_many_mutated_trees_load_or_are_refused(path: Path, data: st.DataObject) -> None:
    tree = parse(SOUND, path)
    for _ in range(data.draw(st.integers(1, 6))):
        mutate(data, tree)
    agrees_with_pydantic(tree)
    path.write_text(tomli_w.dumps(tree), encoding="utf-8")
    loads_or_refuses(path, [])
