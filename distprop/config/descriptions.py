"""What a key means and what it is when it is left out, from its declaration."""

import json
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from functools import cache
from typing import Any

from distprop.config.adapters import adapter


def description(declaration: Any, key: str) -> str:
    """The text below a field in the source, also of an inherited field."""
    for base in declaration.__mro__:
        text = _descriptions(base).get(key)
        if text:
            return " ".join(text.split())
    return "Which kind of table this is." if key == "type" else ""


@cache
def _descriptions(declaration: type) -> dict[str, str]:
    if not is_dataclass(declaration):
        return {}
    properties = adapter(declaration).json_schema()["properties"]
    return {key: value.get("description", "") for key, value in properties.items()}


def default_text(declaration: Any, key: str) -> str:
    """The default as a file would have it; "required" or "" where there is none."""
    field = next(item for item in fields(declaration) if item.name == key)
    value = _default(field)
    if value is MISSING:
        return "required"
    if is_dataclass(value) and not isinstance(value, type):
        kind = asdict(value).get("type")
        return f'type = "{kind}"' if kind else ""
    return "" if value is None else json.dumps(value)


def _default(field: "Field[Any]") -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
