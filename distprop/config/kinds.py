"""What the declarations allow for a key: found from their types, in words."""

import types
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from distprop.config.declaration import Bounds
from distprop.config.declaration import fields_of as fields_of
from distprop.config.lines import Key
from distprop.config.run import Config

_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_NOUNS = {
    bool: ("true or false",) * 2,
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}


def kind_at(path: Key, tree: Any) -> Any:
    """The declared type of the value at `path` of a configuration's tree; None for an unknown key."""
    kind: Any = Config
    for part in path:
        kind = _kind_inside(kind, part, tree)
        tree = _value_inside(tree, part)
        if kind is None:
            return None
    return kind


def keys_at(path: Key, tree: Any) -> tuple[str, ...]:
    """The keys that the table at `path` may have."""
    declaration = _declaration(kind_at(path, tree), _value_at(path, tree))
    return tuple(sorted(fields_of(declaration))) if declaration else ()


def words_at(path: Key, tree: Any) -> tuple[str, ...]:
    """The words that the value at `path` may be; () if it may be something else only."""
    if path[-1:] == ("type",):
        alternatives = _declarations(kind_at(path[:-1], tree))
        return tuple(_tag(option) for option in alternatives if "type" in fields_of(option))
    return literals_of(kind_at(path, tree))


def literals_of(kind: Any) -> tuple[str, ...]:
    """The words among the alternatives of a type."""
    literals = [option for option in options(kind) if get_origin(option) is Literal]
    return tuple(str(word) for literal in literals for word in get_args(literal))


def expected_at(path: Key, tree: Any) -> str:
    """In words, what is allowed at `path`."""
    if path[-1:] == ("type",):
        return alternatives_text([f'"{word}"' for word in words_at(path, tree)])
    return describe(kind_at(path, tree))


def tag_follows(path: Key) -> bool:
    """Is the table at `path` one of several kinds, told apart by its key `type`?"""
    return path in (("optimizer",), ("schedule",), ("network", "loss")) or (
        path[:2] == ("network", "layers") and len(path) == 3
    )


def describe(kind: Any) -> str:
    """A declared type in words: `an integer >= 1`, `"a", "b" or a number`."""
    return alternatives_text([text for option in options(kind) for text in _option_texts(option)])


def alternatives_text(texts: Sequence[str]) -> str:
    """a, b or c."""
    unique = list(dict.fromkeys(texts))
    return " or ".join([", ".join(unique[:-1]), unique[-1]]) if len(unique) > 1 else "".join(unique)


def options(kind: Any) -> list[Any]:
    """The alternatives of a type, without None."""
    plain, _ = _unpacked(kind)
    if get_origin(plain) in (Union, types.UnionType):
        return [option for member in get_args(plain) for option in options(member)]
    return [] if plain is type(None) or plain is None else [kind if plain is not Literal else plain]


def _unpacked(kind: Any) -> tuple[Any, dict[str, Any]]:
    """The bare type and the bounds that are annotated to it."""
    bounds: dict[str, Any] = {}
    while get_origin(kind) is Annotated:
        kind, *metadata = get_args(kind)
        for mark in metadata:
            bounds |= mark.given() if isinstance(mark, Bounds) else {}
    return kind, bounds


def _option_texts(kind: Any, plural: bool = False) -> list[str]:
    plain, bounds = _unpacked(kind)
    if get_origin(plain) is Literal:
        return [f'"{word}"' for word in get_args(plain)]
    if get_origin(plain) is tuple:
        some = "one or more " if bounds.get("min_length") else ""
        return [f"a list of {some}{_items_text(get_args(plain)[0])}"]
    if is_dataclass(plain):
        return ["a table"]
    if bounds.get("max_length") == 1:
        return ["one character"]
    return [" ".join([_NOUNS[plain][plural], _bounds_text(bounds)]).rstrip()]


def _items_text(kind: Any) -> str:
    members = options(kind)
    return (
        "tables"
        if is_dataclass(members[0])
        else alternatives_text([t for m in members for t in _option_texts(m, plural=True)])
    )


def _bounds_text(bounds: dict[str, Any]) -> str:
    return " and ".join(
        f"{sign} {bounds[name]:g}" if bounds[name] != 2**63 else "< 2^63" for name, sign in _BOUNDS if name in bounds
    )


def _kind_inside(kind: Any, part: str | int, value: Any) -> Any:
    if isinstance(part, str):
        declaration = _declaration(kind, value)
        return fields_of(declaration).get(part) if declaration else None
    lists = [plain for plain, _ in map(_unpacked, options(kind)) if get_origin(plain) is tuple]
    return get_args(lists[0])[0] if lists else None


def _declaration(kind: Any, value: Any) -> type | None:
    """The declaration that a table is: the only one, or the one that its key `type` names."""
    declarations = _declarations(kind)
    if len(declarations) == 1:
        return declarations[0]
    named = _value_inside(value, "type")
    return next((option for option in declarations if _tag(option) == named), None)


def declarations_of(kind: Any) -> list[type]:
    """The declarations among the alternatives of a type, or of the elements of a list."""
    lists = [plain for plain, _ in map(_unpacked, options(kind)) if get_origin(plain) is tuple]
    return _declarations(kind) or [found for plain in lists for found in _declarations(get_args(plain)[0])]


def _declarations(kind: Any) -> list[type]:
    return [option for option in options(kind) if isinstance(option, type) and is_dataclass(option)]


def _tag(declaration: type) -> str:
    return str(get_args(fields_of(declaration)["type"])[0])


def _value_at(path: Key, tree: Any) -> Any:
    for part in path:
        tree = _value_inside(tree, part)
    return tree


def _value_inside(tree: Any, part: str | int) -> Any:
    if isinstance(tree, dict):
        return tree.get(part)
    if isinstance(tree, list) and isinstance(part, int) and part < len(tree):
        return tree[part]
    return None
