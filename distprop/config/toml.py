"""TOML text as a tree of plain values, with one clear line for everything that can be wrong with a file."""

import re
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from distprop.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Tree: TypeAlias = dict[str, Any]

MAX_BYTES = 200_000  # more takes seconds to read
_LOOKED_AT = 500_000  # characters, to find where a mistake begins: half a second
_MAX_DOTS = 1000  # tomllib's time grows with the square of the parts of a dotted key


def read_text(path: Path) -> str:
    """The text of a configuration file; ConfigError if it can't be read or isn't UTF-8."""
    content = _read_bytes(path)
    if len(content) > MAX_BYTES:
        _fail(path, f"too large for a configuration (expected at most {MAX_BYTES} bytes)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        _fail(f"{path}:{line}", f"not UTF-8 text (got byte 0x{content[error.start]:02x})")
    if not text.strip():
        _fail(path, "empty (expected at least the tables [data] and [network])")
    return text


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            _fail(path, "is a folder (expected a TOML file)")
        if path.exists() and not path.is_file():  # opening a pipe could wait for ever
            _fail(path, "is no regular file (expected a TOML file)")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        _fail(path, "no such file")
    except (OSError, ValueError) as error:
        _fail(path, f"can't be read: {getattr(error, 'strerror', None) or error}")


def parse(text: str, path: Path) -> Tree:
    """The values of a TOML text; ConfigError with the line of the first mistake of its syntax."""
    if any(piece.count(".") > _MAX_DOTS for piece in re.split(r"[=,\n\"'#\[\]{}]", text)):
        _fail(path, f"a key has more than {_MAX_DOTS} parts")
    try:
        tree: Tree = tomllib.loads(text)
        return tree
    except RecursionError:
        _fail(path, "values are nested too deeply")
    except ValueError as error:  # TOMLDecodeError, or an integer that Python refuses to read
        _fail(*_syntax_problem(str(error), text, path))


def _syntax_problem(message: str, text: str, path: Path) -> tuple[str, str]:
    at_end = len(text.rstrip().splitlines())
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    number = int(found[1]) if found and found[1] else _unfinished(text) or at_end
    lines = text.replace("\r\n", "\n").split("\n")
    got = lines[number - 1].strip() if number <= len(lines) else ""
    problem = message[: found.start()] if found else "an integer of thousands of digits"
    return f"{path}:{number}", f"not valid TOML: {problem} (got {shown(got)})"


def _unfinished(text: str) -> int | None:
    """The line on which the statement begins that goes on to the end of the text, as after a quote that isn't closed.

    That is the one after the last line up to which all is valid. None if finding it would take long.
    """
    lines = text.splitlines(keepends=True)
    looked_at = 0
    for number in range(len(lines), 0, -1):
        before = "".join(lines[: number - 1])
        looked_at += len(before)
        if looked_at > _LOOKED_AT:
            return None
        try:
            tomllib.loads(before)
            return number
        except (ValueError, RecursionError):
            continue
    return None


def parse_value(text: str) -> Any:
    """What `text` means as a TOML value; as a string if it is none."""
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return tree["value"] if len(tree) == 1 else text


def parse_key(text: str) -> tuple[str, ...]:
    """The parts of a TOML key such as `a."b c".d`; ValueError if it is none."""
    if re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", text):
        return tuple(text.split("."))
    if "\n" in text:
        raise ValueError("a key is on one line")
    tree: Any = tomllib.loads(f"{text} = 0")
    parts = []
    while isinstance(tree, dict):
        ((part, tree),) = tree.items()
        parts.append(part)
    return tuple(parts)


def shown(text: str, limit: int = 60) -> str:
    """Text of the user's in quotes, on one line, not longer than an error line can hold."""
    return f'"{printable(text, limit)}"'


def printable(text: str, limit: int = 200) -> str:
    """Text with everything escaped that would disturb a terminal."""
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _fail(where: object, problem: str) -> NoReturn:
    raise ConfigError([f"{printable(str(where))}: {problem}"])
