"""Mistakes in declarations that are made in Python, in the same words as those of a file."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from pydantic import ValidationError
from pydantic_core import ArgsKwargs, ErrorDetails

from distprop.config.adapters import adapter
from distprop.config.kinds import alternatives_text, declarations_of, describe, fields_of, literals_of
from distprop.config.lines import Key
from distprop.config.problems import decisive, did_you_mean, field_name, problem_name, value_text
from distprop.errors import ConfigError


def check(new: Any, declaration: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Initialise `new` with these arguments; ConfigError if they are wrong."""
    args, kwargs = [_plain(value) for value in args], {name: _plain(value) for name, value in kwargs.items()}
    try:
        adapter(declaration).validator.validate_python(ArgsKwargs(tuple(args), kwargs), self_instance=new)
    except ValidationError as error:
        raise _config_error(declaration, args, kwargs, error) from None


def _plain(value: Any) -> Any:
    """A number of NumPy's, or an array of them, as Python's own."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else value


def _config_error(
    declaration: type, args: Sequence[Any], kwargs: Mapping[str, Any], error: ValidationError
) -> ConfigError:
    """The error of `declaration(*args, **kwargs)`, one line a problem: `Dense: units: out of range (got ...)`."""
    names = [item.name for item in fields(declaration) if not item.kw_only]
    values = dict(zip(names, args, strict=False)) | dict(kwargs)
    located = [(_path(details, names, values), details) for details in error.errors(include_url=False)]
    lines = [_line(declaration, path, details) for path, details in decisive(located)]
    return ConfigError([f"{declaration.__name__}: {line}" for line in lines])


def _path(details: ErrorDetails, names: Sequence[str], values: Mapping[str, Any]) -> Key:
    """The field, and the number of an element of it; the rest of the location names alternatives of a union."""
    first, *rest = details["loc"]
    if isinstance(first, int) and first < len(names) and details["type"] != "unexpected_positional_argument":
        first = names[first]
    is_list = isinstance(first, str) and isinstance(values.get(first), list | tuple)
    return (first, *(part for part in rest if is_list and isinstance(part, int)))


def _line(declaration: type, path: Key, details: ErrorDetails) -> str:
    kind, field = details["type"], field_name(path)
    allowed = fields_of(declaration)
    if kind == "unexpected_positional_argument":
        return f"too many positional arguments (expected {', '.join(allowed)})"
    if kind == "unexpected_keyword_argument":
        return f"{field}: unknown field{did_you_mean(path[0], tuple(allowed))} (expected one of {', '.join(allowed)})"
    declared = allowed[str(path[0])]
    expected = _expected(declared)
    if kind == "missing":
        return f"{field}: missing (expected {expected})"
    hint = did_you_mean(details["input"], literals_of(declared))
    return f"{field}: {problem_name(details)}{hint} (got {value_text(details['input'])}, expected {expected})"


def _expected(declared: Any) -> str:
    """Declarations by their names, anything else as in a file."""
    text = describe(declared)
    names = alternatives_text([option.__name__ for option in declarations_of(declared)])
    return text.replace("a table", names).replace("tables", names) if names else text
