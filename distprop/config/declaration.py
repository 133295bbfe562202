"""What all declarations share: they are frozen, take no unknown field and no value of a wrong type."""

from typing import Annotated

from pydantic import ConfigDict, Field, Strict

DECLARATION = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_enum_values=True)

Names = Annotated[tuple[str, ...], Strict(False)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
