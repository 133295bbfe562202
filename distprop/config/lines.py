"""On which line of a TOML text each key stands.

The text has been read by a TOML reader before, so this scanner follows valid TOML and checks nothing.
"""

import re
from typing import NamedTuple, TypeAlias

from distprop.config.toml import parse_key

Key: TypeAlias = tuple[str | int, ...]  # names of tables and keys, and numbers of elements from 0

_TOKEN = re.compile(
    r"""(?P<newline>\n)
      | (?P<blank>[ \t\r]+|\#[^\n]*)
      | (?P<text>\"\"\"(?:\\.|[^\\])*?\"{3,5}|'''.*?'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')
      | (?P<mark>[\[\]{}=,])
      | (?P<bare>[^\s\[\]{}=,"'\#]+)""",
    re.DOTALL | re.VERBOSE,
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


def key_lines(text: str) -> dict[Key, int]:
    """The line (from 1) of each key, table and array element of a valid TOML text."""
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str):
        self._tokens = _tokens(text)
        self._next = 0
        self._lines: dict[Key, int] = {}
        self._elements: dict[Key, int] = {}  # how many [[tables]] an array has so far

    def scan(self) -> dict[Key, int]:
        table: Key = ()
        while self._peek().kind != "end":
            if self._peek().kind == "newline":
                self._take()
            elif self._peek().text == "[" and self._peek().kind == "mark":
                table = self._header()
            else:
                self._pair(table)
        return self._lines

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _at(self, mark: str) -> bool:
        token = self._peek()
        return token.kind == "end" or (token.kind == "mark" and token.text == mark)

    def _skip_newlines(self) -> None:
        while self._peek().kind == "newline":
            self._take()

    def _header(self) -> Key:
        line = self._take().line
        is_element = self._at("[")
        if is_element:
            self._take()
        parts = self._key("]")
        for _ in range(1 + is_element):
            self._take()
        path: Key = ()
        for part in parts[:-1]:
            path = self._inside((*path, part), line)
        path = (*path, parts[-1])
        if is_element:
            self._elements[path] = self._elements.get(path, 0) + 1
        return self._inside(path, line)

    def _inside(self, path: Key, line: int) -> Key:
        """Record a table; the path of its newest element if it is an array of tables."""
        self._lines.setdefault(path, line)
        if path in self._elements:
            path = (*path, self._elements[path] - 1)
            self._lines.setdefault(path, line)
        return path

    def _pair(self, table: Key) -> None:
        line = self._peek().line
        for part in self._key("="):
            table = (*table, part)
            self._lines.setdefault(table, line)
        self._take()
        self._value(table)

    def _key(self, end: str) -> tuple[str, ...]:
        text = ""
        while not self._at(end):
            text += self._take().text
        return parse_key(text)

    def _value(self, path: Key) -> None:
        if self._at("["):
            self._array(path)
        elif self._at("{"):
            self._inline_table(path)
        else:
            while self._peek().kind in ("text", "bare"):
                self._take()

    def _array(self, path: Key) -> None:
        self._take()
        index = 0
        self._skip_newlines()
        while not self._at("]"):
            element = (*path, index)
            self._lines[element] = self._peek().line
            self._value(element)
            self._skip_separator()
            index += 1
        self._take()

    def _inline_table(self, path: Key) -> None:
        self._take()
        self._skip_newlines()
        while not self._at("}"):
            self._pair(path)
            self._skip_separator()
        self._take()

    def _skip_separator(self) -> None:
        self._skip_newlines()
        if self._at(","):
            self._take()
            self._skip_newlines()


def _tokens(text: str) -> list[_Token]:
    tokens = []
    line = 1
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind != "blank":
            tokens.append(_Token(kind, found[0], line))
        line += found[0].count("\n")
    return tokens + [_Token("end", "", line)] * 3  # no header takes more than two tokens past the end
