"""Declarations from trees of plain values, as TOML and JSON files hold them."""

import dataclasses
import json
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from distprop.config.declaration import fields_of
from distprop.errors import ConfigError

_T = TypeVar("_T")


def from_tree(declaration: type[_T], tree: Any) -> _T:
    """The declaration that a tree means. ValueError if it means none: Pydantic knows what is wrong then."""
    try:
        result: _T = _made(declaration, tree)
        return result
    except (ConfigError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def from_json(declaration: type[_T], text: str | bytes) -> _T:
    """The declaration that a JSON text means. ValueError says what is wrong with it."""
    try:
        return from_tree(declaration, json.loads(text))
    except ValueError:
        from distprop.config.adapters import adapter

        kind: Any = declaration
        result: _T = adapter(kind).validate_json(text)
        return result


def to_object(declaration: Any) -> dict[str, Any]:
    """The JSON object that `from_json` reads."""
    value: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(declaration)))
    return value


def _made(kind: Any, value: Any) -> Any:
    """A value of a declared type. Numbers and texts are checked by the declaration that they become a part of."""
    options = _options(kind)
    if isinstance(value, dict):
        cls = _declaration(options, value)
        fields = fields_of(cls)
        return cls(**{key: _made(fields[key], item) for key, item in value.items()})
    if isinstance(value, list):
        kinds = [get_args(option)[0] for option in options if get_origin(option) is tuple]
        if not kinds:
            raise TypeError("a list")
        return tuple(_made(kinds[0], item) for item in value)
    if type(value) is int:
        if not -(2**63) <= value < 2**64:
            raise OverflowError("more than 64 bits")
        return float(value) if float in options and int not in options else value
    return value


def _declaration(options: list[Any], table: dict[str, Any]) -> Any:
    """The only declaration among the options, or the one that the table's `type` names."""
    found: list[Any] = [option for option in options if dataclasses.is_dataclass(option)]
    if len(found) > 1:
        found = [option for option in found if get_args(fields_of(option)["type"])[0] == table["type"]]
    if not found:
        raise TypeError("a table")
    return found[0]


def _options(kind: Any) -> list[Any]:
    """The alternatives of a type, without their marks."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _options(get_args(kind)[0])
    if origin in (Union, types.UnionType):
        return [option for member in get_args(kind) for option in _options(member)]
    return [] if origin is Literal else [kind]
