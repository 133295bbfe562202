"""Overrides from the command line: --set a.b=c changes one value of a configuration's tree."""

from collections.abc import Sequence
from datetime import date, time
from typing import Any

from distprop.config.lines import Key
from distprop.config.problems import field_name, value_text
from distprop.config.toml import Tree, parse_key, parse_value, printable


class OverrideError(ValueError):
    """Why an override can't be applied."""


def label(override: str) -> str:
    """How an override is named in an error."""
    return f"--set {printable(override, 100)}"


def apply(tree: Tree, override: str) -> Key:
    """Set one value of the tree, making the tables that it lacks; the path of the first thing that is new by it.

    OverrideError if it can't be done.
    """
    key, equals, text = override.partition("=")
    if not equals:
        raise OverrideError("no value (expected key=value, as in training.epochs=3)")
    try:
        text.encode()
        parts = parse_key(key.strip())
    except ValueError:
        raise OverrideError("not a key (expected key=value, as in training.epochs=3)") from None
    path = _checked_path(tree, parts)
    return _set(tree, path, _value(text.strip()))


def _value(text: str) -> Any:
    value = parse_value(text)
    return text if isinstance(value, date | time) else value  # a file may be called 2024-01-31


def _checked_path(tree: Tree, parts: Sequence[str]) -> Key:
    """The path with numbers where the tree has lists."""
    path: Key = ()
    value: Any = tree
    for part in parts:
        step: str | int = part
        if isinstance(value, list):
            if not (part.isdecimal() and part.isascii() and int(part) < len(value)):
                allowed = f"a number from 0 to {len(value) - 1}" if value else "nothing: the list is empty"
                raise OverrideError(f"{field_name(path)} has no element {printable(part, 20)} (expected {allowed})")
            step = int(part)
            value = value[step]
        elif isinstance(value, dict):
            value = value.get(part, {})
        else:
            raise OverrideError(f"{field_name(path)} is {value_text(value)}, not a table")
        path = (*path, step)
    return path


def _set(tree: Any, path: Key, value: Any) -> Key:
    for end, part in enumerate(path[:-1], 1):
        if isinstance(tree, dict) and part not in tree:
            for key in reversed(path[end:]):
                value = {key: value}
            tree[part] = value
            return path[:end]
        tree = tree[part]
    tree[path[-1]] = value
    return path
