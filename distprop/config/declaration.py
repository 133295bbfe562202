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

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda function: function


STRICT = {"extra": "forbid", "strict": True, "allow_inf_nan": False, "use_attribute_docstrings": True}


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Marks what a number, or the length of a text or a tuple, has to keep to."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source) | self.given()

    def given(self) -> dict[str, float]:
        """The bounds that there are, by name."""
        return {name: bound for name, bound in vars(self).items() if bound is not None}

    def hold(self, value: Any) -> bool:
        """Whether the value keeps them."""
        return (
            (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.lt is None or value < self.lt)
            and (self.le is None or value <= self.le)
            and (self.min_length is None or len(value) >= self.min_length)
            and (self.max_length is None or len(value) <= self.max_length)
        )


class Listed:
    """Marks a tuple that may be given as a list, also from Python."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source) | {"strict": False}


class Tagged:
    """Marks declarations that are told apart by their field `type`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic import Field

        return handler.generate_schema(Annotated[source, Field(discriminator="type")])


Names = Annotated[tuple[str, ...], Listed()]
Positive = Annotated[float, Bounds(gt=0)]
NotNegative = Annotated[float, Bounds(ge=0)]
Fraction = Annotated[float, Bounds(ge=0, lt=1)]
Count = Annotated[int, Bounds(ge=1)]

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
        return fits(bare, value) and all(mark.hold(value) for mark in marks if isinstance(mark, Bounds))
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
