"""Reading a configuration file: everything that is wrong with it is reported at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from distprop.config import overrides as set_options
from distprop.config.lines import Key, key_lines
from distprop.config.problems import MisfitError, Problem, validate
from distprop.config.rules import rule_problems, sound_tables
from distprop.config.run import Config
from distprop.config.toml import Tree, parse, printable, read_text
from distprop.errors import ConfigError


def load_config(path: Path, overrides: Sequence[str] = (), *, check_files: bool = True) -> Config:
    """The configuration in a TOML file, with `a.b=c` overrides; ConfigError with one line for every mistake.

    `check_files=False` leaves out the question whether the data files exist.
    """
    text = read_text(path)
    tree = parse(text, path)
    applied, refused = _apply(tree, overrides)
    config, problems = validate(tree)
    problems += rule_problems(sound_tables(config, tree), path.parent if check_files else None)
    if problems or refused or config is None:
        raise ConfigError([*_lines(problems, printable(str(path)), text, applied), *refused])
    return config


@contextmanager
def located(path: Path, overrides: Sequence[str] = ()) -> Iterator[None]:
    """Mistakes that the data show in a configuration that was read from this file are told with their lines."""
    try:
        yield
    except MisfitError as error:
        text = read_text(path)
        applied, _ = _apply(parse(text, path), overrides)
        raise ConfigError(_lines(error.found, printable(str(path)), text, applied)) from None


def _apply(tree: Tree, overrides: Sequence[str]) -> tuple[dict[Key, str], list[str]]:
    """Set values of the tree: which override has set what, and what is wrong with others."""
    applied: dict[Key, str] = {}
    refused = []
    for override in overrides:
        try:
            applied[set_options.apply(tree, override)] = override
        except set_options.OverrideError as error:
            refused.append(f"{set_options.label(override)}: {error}")
    return applied, refused


def check(path: Path, overrides: Sequence[str] = ()) -> list[str]:
    """All problems of a configuration file, one line each; none means that a run can start."""
    try:
        load_config(path, overrides)
    except ConfigError as error:
        return list(error.problems)
    return []


class _Place(NamedTuple):
    order: float
    text: str


def _lines(problems: Sequence[Problem], file: str, text: str, applied: dict[Key, str]) -> list[str]:
    """Each problem with its place, in the order of the file's lines; those of overrides at the end."""
    places = {path: _Place(line, f"{file}:{line}") for path, line in key_lines(text).items()}
    for path, override in applied.items():
        places = {key: place for key, place in places.items() if key[: len(path)] != path}
        places[path] = _Place(float("inf"), set_options.label(override))
    located = [(_place(problem.path, places, file), problem) for problem in problems]
    located.sort(key=lambda entry: entry[0].order)
    return [f"{place.text}: {problem}" for place, problem in located]


def _place(path: Key, places: dict[Key, _Place], file: str) -> _Place:
    """The place of a key, or of the nearest table around it."""
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    return _Place(1, f"{file}:1")
