"""The scanner that finds keys in TOML text, against a TOML reader."""

from typing import Any

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from distprop.config.lines import Key, key_lines

TEXT = '''\
a = 1 # [no.table]
"b c".'d.e' = """
[not] = a table
\\""" = 3
"""
f = [ # comment, with ]
  1,
  [2, "]"],
  { g = 4, h.i = [5,
     6] },
]

[j."k l"]
m = \'\'\'
'' '\'\'\'
n = 1979-05-27 07:32:00
[[o]]
p = 1
[[o.q]]
[[o.q]]
r = {}
[[o]]
[o.s]
t.u = -inf
'''

EXPECTED = {
    ("a",): 1,
    ("b c",): 2,
    ("b c", "d.e"): 2,
    ("f",): 6,
    ("f", 0): 7,
    ("f", 1): 8,
    ("f", 1, 0): 8,
    ("f", 1, 1): 8,
    ("f", 2): 9,
    ("f", 2, "g"): 9,
    ("f", 2, "h"): 9,
    ("f", 2, "h", "i"): 9,
    ("f", 2, "h", "i", 0): 9,
    ("f", 2, "h", "i", 1): 10,
    ("j",): 13,
    ("j", "k l"): 13,
    ("j", "k l", "m"): 14,
    ("j", "k l", "n"): 16,
    ("o",): 17,
    ("o", 0): 17,
    ("o", 0, "p"): 18,
    ("o", 0, "q"): 19,
    ("o", 0, "q", 0): 19,
    ("o", 0, "q", 1): 20,
    ("o", 0, "q", 1, "r"): 21,
    ("o", 1): 22,
    ("o", 1, "s"): 23,
    ("o", 1, "s", "t"): 24,
    ("o", 1, "s", "t", "u"): 24,
}

KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES = st.integers(-9, 9) | st.booleans() | KEYS | st.floats() | st.datetimes()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


def paths(value: Any, path: Key = ()) -> set[Key]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path}.union(*(paths(item, (*path, key)) for key, item in inner)) - {()}


def test_every_way_to_write_a_key_is_found_on_its_line() -> None:
    assert key_lines(TEXT) == EXPECTED


@settings(max_examples=80)
@given(st.dictionaries(KEYS, VALUES, max_size=4), st.booleans())
def test_the_scanner_finds_exactly_the_keys_that_a_reader_finds(tree: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(tree, multiline_strings=multiline)
    lines = key_lines(text)
    assert set(lines) == paths(tree)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
