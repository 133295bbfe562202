"""Mistakes in a configuration's values, in the words of the file: one problem for each, wherever it comes from."""

import datetime
import difflib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distprop.config.kinds import expected_at, fields_of, keys_at, kind_at, options, tag_follows, words_at
from distprop.config.lines import Key
from distprop.config.run import Config
from distprop.config.toml import Tree, printable, shown
from distprop.config.tree import from_tree
from distprop.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MAX_DEPTH = 20
_ABSENT: Any = object()
_PROBLEMS = {
    "literal_error": "unknown value",
    "union_tag_invalid": "unknown value",
    "finite_number": "not finite",
    "too_short": "too few elements",
    "string_too_short": "wrong length",
    "string_too_long": "wrong length",
    "greater_than": "out of range",
    "greater_than_equal": "out of range",
    "less_than": "out of range",
    "less_than_equal": "out of range",
}


@dataclass(frozen=True)
class Problem:
    """What is wrong with the value at `path`."""

    path: Key
    text: str

    def __str__(self) -> str:
        return f"{field_name(self.path)}: {self.text}"


class MisfitError(ConfigError):
    """Mistakes that only the data show. Who has read the file knows their lines: see `located` in load.py."""

    def __init__(self, found: Sequence[Problem]):
        self.found = tuple(found)
        super().__init__([str(problem) for problem in found])


def field_name(path: Key) -> str:
    """The path of a value as --set takes it: network.layers.0.units."""
    parts = (part if str(part).replace("-", "").replace("_", "").isalnum() else shown(str(part)) for part in path)
    return ".".join(printable(str(part), 60) for part in parts)


def wrong(problem: str, got: Any, expected: str) -> str:
    """problem (got X, expected Y)."""
    return f"{problem} (got {value_text(got)}, expected {expected})"


def value_text(value: Any) -> str:
    """A value as the file has it, cut if it is long."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list | tuple):
        return printable(
            "[" + ", ".join(value_text(item) for item in value[:8]) + ("]" if len(value) <= 8 else ", ...]"), 60
        )
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value) if isinstance(value, bool | int | float) else printable(str(value), 60)


def validate(tree: Tree) -> tuple[Config | None, list[Problem]]:
    """The configuration that a tree means, or what is wrong with its keys and values."""
    try:
        return from_tree(Config, tree), []
    except ValueError:
        return _validate(tree)


def _validate(tree: Tree) -> tuple[Config | None, list[Problem]]:
    from pydantic import ValidationError

    from distprop.config.adapters import adapter

    problems: list[Problem] = []
    plain = _plain(tree, (), problems)
    try:
        config: Config = adapter(Config).validate_json(json.dumps(plain))
    except ValidationError as error:
        located = [
            (_path(details["loc"], tree, details["type"]), details) for details in error.errors(include_url=False)
        ]
        found = (_problem(path, details, tree) for path, details in decisive(located))
        return None, problems + [problem for problem in found if not _touches(problem.path, problems)]
    return (None if problems else config), problems


def json_tree(value: Any) -> Any:
    """A tree in JSON's types; null for what has none there."""
    return _plain(value, (), [])


def _plain(value: Any, path: Key, problems: list[Problem]) -> Any:
    """The value in JSON's types. What has none there is a problem, and null."""
    if isinstance(value, dict) and len(path) < _MAX_DEPTH:
        return {key: _plain(item, (*path, key), problems) for key, item in value.items()}
    if isinstance(value, list) and len(path) < _MAX_DEPTH:
        return [_plain(item, (*path, index), problems) for index, item in enumerate(value)]
    if isinstance(value, dict | list):
        problems.append(Problem(path, f"nested too deeply (expected at most {_MAX_DEPTH} levels)"))
    elif isinstance(value, datetime.date | datetime.time):
        problems.append(
            Problem(path, wrong("dates and times have no use here", value, "text in quotes or another value"))
        )
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        problems.append(Problem(path, wrong("out of range", value, "an integer of at most 64 bits")))
    else:
        return value
    return None


def _path(location: tuple[int | str, ...], tree: Any, kind: str) -> Key:
    """Where pydantic found an error, without the alternatives of unions that it adds to the path."""
    path: Key = ()
    value: Any = tree
    after_tag = False
    for number, part in enumerate(location):
        is_last = number == len(location) - 1
        if tag_follows(path) and not after_tag:
            after_tag = True
            continue
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]  # type: ignore[index]
        elif is_last and kind == "missing":
            value = _ABSENT
        else:
            continue
        path = (*path, part)
        after_tag = False
    return path


def decisive(located: Sequence["tuple[Key, ErrorDetails]"]) -> Iterator["tuple[Key, ErrorDetails]"]:
    """One error for each place: an alternative of a union that fits less well than another says nothing."""
    by_path: dict[Key, list[ErrorDetails]] = {}
    for path, details in located:
        by_path.setdefault(path, []).append(details)
    inner = {path[:end] for path in by_path for end in range(len(path))}
    for path, errors in by_path.items():
        if path not in inner:
            yield path, min(errors, key=_rank)


def _rank(details: "ErrorDetails") -> int:
    """How little an error of one alternative says about the value."""
    if details["type"] == "literal_error":
        return 0 if isinstance(details["input"], str) else 2
    return 1 if details["type"].endswith("_type") else 0


def problem_name(details: "ErrorDetails") -> str:
    """What is wrong, in two or three words."""
    return _PROBLEMS.get(details["type"], "wrong type" if details["type"].endswith("_type") else details["msg"])


def _problem(path: Key, details: "ErrorDetails", tree: Tree) -> Problem:
    kind, got = details["type"], details["input"]
    if kind == "unexpected_keyword_argument":
        return Problem(path, _unknown_key(path, tree))
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        path = (*path, "type")
        got = got.get("type", _ABSENT)
    expected = expected_at(path, tree)
    if kind in ("missing", "union_tag_not_found"):
        return Problem(path, f"missing (expected {expected})")
    return Problem(path, wrong(problem_name(details) + did_you_mean(got, words_at(path, tree)), got, expected))


def _unknown_key(path: Key, tree: Tree) -> str:
    allowed = keys_at(path[:-1], tree)
    key = str(path[-1])
    hint = did_you_mean(key, allowed) or _belongs_elsewhere(key, tree)
    return f"unknown key{hint} (got {shown(key)}, expected one of {', '.join(allowed)})"


def _belongs_elsewhere(key: str, tree: Tree) -> str:
    """A hint when another table has this key: a common slip, as TOML's tables last until the next header."""
    if key in fields_of(Config):
        return f'; "{key}" goes to the top of the file, before the first [table]' if not options_are_tables(key) else ""
    places = [f"[{table}]" for table in fields_of(Config) if key in keys_at((table,), tree)]
    return f"; it belongs to {places[0]}" if places else ""


def options_are_tables(key: str) -> bool:
    return any(hasattr(option, "__dataclass_fields__") for option in options(kind_at((key,), {})))


def did_you_mean(given: Any, words: Sequence[str]) -> str:
    """A hint to the word that is most like the given one, if one is like it."""
    if not isinstance(given, str) or len(given) > 60:
        return ""
    by_folded = {word.casefold(): word for word in words}
    found = difflib.get_close_matches(given.casefold(), by_folded, n=1)
    return f'; did you mean "{by_folded[found[0]]}"?' if found else ""


def _touches(path: Key, problems: Sequence[Problem]) -> bool:
    """Does the path lead to, through or towards a place that has a problem already?"""
    return any(all(a == b for a, b in zip(path, problem.path, strict=False)) for problem in problems)
