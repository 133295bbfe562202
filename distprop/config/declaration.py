"""What all declarations share: they are frozen, take no unknown field and no value of a wrong type.

Pydantic says what is wrong with a value, and makes what is declared of one that nearly is (a list for a tuple). Values
that are right as they stand need it not. So it is imported only when it has something to say: that takes longer than
the rest of a command, and every rank would wait for it.
"""

import dataclasses
import functools
import math
import types
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Lt

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda function: function


STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False, "use_attribute_docstrings": True}


class Listed:
    """Marks a tuple that may be given as a list, also from Python."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {**handler(source), "strict": False}


class Tagged:
    """Marks declarations that are told apart by their field `type`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="type")])


Names = Annotated[tuple[str, ...], Listed()]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1)]

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def declaration(cls: type[_T]) -> type[_T]:
    """Make a class a declaration. Creating one with a wrong value raises a ConfigError, one line a problem."""
    return _declared(cls, STRICT)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def computed(cls: type[_T]) -> type[_T]:
    """As `declaration`, for what is computed, not written by people: numbers of other types are taken too."""
    return _declared(cls, {"extra": "forbid"})


def _declared(cls: type[_T], config: dict[str, Any]) -> type[_T]:
    made: Any = dataclasses.dataclass(frozen=True)(cls)
    made.__pydantic_config__ = config
    made.__init__ = _checking(made, made.__init__)
    result: type[_T] = made
    return result


def _checking(cls: type, initialise: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(initialise)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            initialise(self, *args, **kwargs)
            right = all(fits(kind, getattr(self, name)) for name, kind in fields_of(cls).items())
        except TypeError:  # too many arguments, too few, or unknown ones
            right = False
        if not right:
            from distprop.config.python_errors import check  # needs the declarations that are being made here

            check(self, cls, args, kwargs)

    return __init__


@functools.cache
def fields_of(cls: Any) -> dict[str, Any]:
    """The types of a declaration's fields, in their order."""
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in dataclasses.fields(cls)}


def fits(kind: Any, value: Any) -> bool:
    """Whether a value is just what is declared. If not, Pydantic may still be able to make it so."""
    origin = get_origin(kind)
    if origin is Annotated:
        bare, *marks = get_args(kind)
        return fits(bare, value) and all(_within(mark, value) for mark in marks)
    if origin in (Union, types.UnionType):
        return any(fits(option, value) for option in get_args(kind))
    if origin is Literal:
        return type(value) is str and value in get_args(kind)
    if origin is tuple:
        return type(value) is tuple and _all_fit(get_args(kind)[0], value)
    return type(value) is kind and _all_plain(kind, (value,))


def _all_fit(kind: Any, values: tuple[Any, ...]) -> bool:
    if kind in (float, int, str):  # there may be very many
        return set(map(type, values)) <= {kind} and _all_plain(kind, values)
    return all(fits(kind, value) for value in values)


def _all_plain(kind: Any, values: Collection[Any]) -> bool:
    """No infinite number, no text that UTF-8 has no bytes for."""
    if kind is float:
        return all(map(math.isfinite, values))
    if kind is str and not all(map(str.isascii, values)):
        return not any("\ud800" <= character <= "\udfff" for text in values for character in text)
    return True


def _within(mark: Any, value: Any) -> bool:
    """Whether a value keeps a bound of its declaration; other marks are no bounds."""
    return not (
        (hasattr(mark, "gt") and not value > mark.gt)
        or (hasattr(mark, "ge") and not value >= mark.ge)
        or (hasattr(mark, "lt") and not value < mark.lt)
        or (hasattr(mark, "le") and not value <= mark.le)
        or (hasattr(mark, "min_length") and len(value) < mark.min_length)
        or (hasattr(mark, "max_length") and len(value) > mark.max_length)
    )
