"""Encodings: they survive their file bit for bit, and labels are found however they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprop.data.encoding import Column, Encoding, Labels, Statistics, Target, canonical, ordered_labels
from distprop.errors import DataError

finite = st.floats(allow_nan=False, allow_infinity=False)
names = st.text(min_size=1, max_size=9).filter(lambda text: text.isprintable())


@given(st.lists(finite, min_size=1, max_size=9), names, st.lists(names, unique=True, max_size=4))
def test_an_encoding_comes_back_from_its_json_bit_for_bit(
    numbers: list[float], name: str, categories: list[str]
) -> None:
    encoding = Encoding(
        columns=(
            Column(name, "category", len(categories), tuple(categories), (0.0,)),
            Column("x", "array", len(numbers), (), tuple(numbers)),
        ),
        shape=(len(categories) + len(numbers),),
        target=Target((name,), "values", (), 3),
        weight=name,
        statistics=Statistics(7, tuple(numbers), tuple(numbers), numbers[0], numbers[-1], (), tuple(numbers)),
        missing_markers=tuple(categories),
        delimiter=";",
    )
    again = Encoding.from_json(encoding.to_json())
    assert again == encoding
    # == doesn't tell 0.0 from -0.0.
    assert repr(again) == repr(encoding)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"columns": [], "shape": [1], "surprise": 1}'])
def test_what_is_no_encoding_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DataError, match="not an encoding") as caught:
        Encoding.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", "3"),
        ("03", "3"),
        (" +3.0", "3"),
        ("-0.50", "-0.5"),
        ("3e2", "300"),
        (".5", "0.5"),
        (str(2**60 + 1), str(2**60 + 1)),
        ("3,0", None),
        ("1_000", None),
        ("nan", None),
        ("٣", None),
        ("", None),
        ("9" * 50, None),
    ],
)
def test_a_number_has_one_way_to_be_written(text: str, expected: str | None) -> None:
    assert canonical(text) == expected


def test_labels_are_in_the_order_of_numbers_only_if_all_are_numbers() -> None:
    assert ordered_labels({"10", "9", "9.0", "-1"}) == ("-1", "9", "10")
    assert ordered_labels({"10", "9", "x"}) == ("10", "9", "x")
    assert ordered_labels({"b", "B", "ä", "a"}) == ("B", "a", "b", "ä")


@given(st.sets(st.integers(-99, 99), min_size=1), st.sampled_from(["{}", "{}.0", "{:+d}", "{}e0"]))
def test_every_way_to_write_a_number_finds_its_class(numbers: set[int], form: str) -> None:
    classes = ordered_labels({str(number) for number in numbers})
    written = [form.format(number) for number in sorted(numbers)]
    assert Labels(classes).codes(written) == list(range(len(numbers)))
    assert Labels(classes).codes(["1000", "x"]) == [-1, -1]


def test_outputs_are_named_after_classes_columns_or_one_array() -> None:
    assert Target(("y",), "classes", ("no", "yes"), 2).output_names == ("no", "yes")
    assert Target(("a", "b"), "values", (), 2).output_names == ("a", "b")
    assert Target(("y",), "values", (), 2).output_names == ("y_0", "y_1")
