"""Pydantic's side of the declarations. Importing this file imports Pydantic, so others do it where they need it."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter


@cache
def adapter(kind: Any) -> "TypeAdapter[Any]":
    """What validates values of a declared type: made once, which takes long."""
    return TypeAdapter(kind)
