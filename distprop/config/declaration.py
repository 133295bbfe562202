"""What all declarations share: they are frozen, take no unknown field and no value of a wrong type."""

import dataclasses
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, Strict, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import dataclass_transform

DECLARATION = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)

Names = Annotated[tuple[str, ...], Strict(False)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, Field))
def declaration(cls: type[_T]) -> type[_T]:
    """Make a class a declaration. Creating one with a wrong value raises a ConfigError, one line a problem."""
    made: Any = pydantic_dataclass(frozen=True, config=DECLARATION)(cls)
    made.__init__ = _with_own_errors(made, made.__init__)
    result: type[_T] = made
    return result


def _with_own_errors(cls: type, initialise: Callable[..., None]) -> Callable[..., None]:
    @wraps(initialise)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            initialise(self, *args, **kwargs)
        except ValidationError as error:
            from distprop.config.python_errors import config_error  # needs the declarations that are being made here

            raise config_error(cls, args, kwargs, error) from None

    return __init__
