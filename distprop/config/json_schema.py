"""The JSON Schema of a configuration file, with which editors complete and check keys."""

from collections.abc import Iterator
from typing import Any, cast

from distprop.config.adapters import adapter
from distprop.config.descriptions import description
from distprop.config.kinds import declarations_of, fields_of
from distprop.config.run import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a configuration file.

    It describes files: there is no null in TOML, and tables of several kinds need their `type`.
    """
    tree = adapter(Config).json_schema()
    for declaration in dict.fromkeys(_declarations_below(Config)):
        table = tree if declaration is Config else tree["$defs"][declaration.__name__]
        for key in fields_of(declaration):
            table["properties"][key].setdefault("description", description(declaration, key))
        if "type" in table["properties"]:
            table["required"] = ["type", *table.get("required", [])]
    return {"$schema": DIALECT, **cast(dict[str, Any], _of_files(tree)), "title": "distprop configuration"}


def _declarations_below(declaration: type) -> Iterator[type]:
    yield declaration
    for kind in fields_of(declaration).values():
        for inner in declarations_of(kind):
            yield from _declarations_below(inner)


def _of_files(node: Any) -> Any:
    """The schema without null, without pydantic's titles, and with one-word lists for constants."""
    if isinstance(node, list):
        return [_of_files(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _of_files(value) for key, value in node.items() if not _is_noise(key, value)}
    if "const" in node:
        node["enum"] = [node.pop("const")]
    alternatives = [option for option in node.get("anyOf", []) if option != {"type": "null"}]
    if len(alternatives) == 1:
        node |= alternatives[0] | {key: node[key] for key in ("description",) if key in node}
        del node["anyOf"]
    elif alternatives:
        node["anyOf"] = alternatives
    return node


def _is_noise(key: str, value: Any) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and value is None)
