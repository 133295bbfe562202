"""Overrides that break a configuration, and files that are none."""

from collections.abc import Callable
from pathlib import Path

import pytest

from distprop.config import check, load_config
from distprop.errors import ConfigError

Problems = Callable[..., list[str]]
Edit = Callable[[str, str], str]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["training.epochs=x"],
            '--set training.epochs=x: training.epochs: wrong type (got "x", expected an integer >= 1)',
        ),
        (
            ["optimizer.beta=1"],
            '--set optimizer.beta=1: optimizer.beta: unknown key (got "beta", expected one of clip_norm, '
            "clip_value, l1, l2, learning_rate, momentum, type, weight_decay)",
        ),
        (
            ["schedule.every.x=1"],
            '--set schedule.every.x=1: schedule.every: unknown key (got "every", expected one of floor, type, warmup)',
        ),
        (["training=3"], "--set training=3: training: wrong type (got 3, expected a table)"),
        (["seed.x=3"], "--set seed.x=3: seed is 3, not a table"),
        (
            ["network.layers.3.units=3"],
            "--set network.layers.3.units=3: network.layers has no element 3 (expected a number from 0 to 2)",
        ),
        (["nonsense"], "--set nonsense: no value (expected key=value, as in training.epochs=3)"),
        (["=3"], "--set =3: not a key (expected key=value, as in training.epochs=3)"),
        (["a b=3"], "--set a b=3: not a key (expected key=value, as in training.epochs=3)"),
        (["\n[x]\na=3"], "--set \\n[x]\\na=3: not a key (expected key=value, as in training.epochs=3)"),
        (["dtype=\udcff"], "--set dtype=\\udcff: not a key (expected key=value, as in training.epochs=3)"),
        (
            ["training.monitor=validation_loss", "data.validation_fraction=0"],
            "--set training.monitor=validation_loss: training.monitor: there is no validation data "
            '(got "validation_loss", expected "loss", or validation or validation_fraction in [data])',
        ),
        (
            ["training.monitor=validation_accuracy", "network.loss.type=huber"],
            "--set training.monitor=validation_accuracy: training.monitor: targets that are values have no accuracy "
            '(got "validation_accuracy", expected "validation_loss")',
        ),
        (
            ["data.stratify=true", "network.loss.type=huber"],
            '--set data.stratify=true: data.stratify: needs classes (got values, the targets of the loss "huber")',
        ),
        (
            ["network.layers=[{type='flatten'}]"],
            "--set network.layers=[{type='flatten'}]: "
            "network.layers: nothing to train (expected at least one dense layer)",
        ),
        (
            ["network.layers=[{type='dense',units=0}]"],
            "--set network.layers=[{type='dense',units=0}]: "
            "network.layers.0.units: out of range (got 0, expected an integer >= 1)",
        ),
        (
            ["data.validation_fraction=0", "data.validation={features='a.npy',targets='train.csv'}"],
            "--set data.validation={features='a.npy',targets='train.csv'}: data.validation: "
            "not the same kind of source as train (expected two tables, or arrays for both)",
        ),
    ],
)
def test_an_override_that_breaks_the_configuration_is_named(
    overrides: list[str], expected: str, problems: Problems, sound: str
) -> None:
    assert expected in problems(sound, *overrides)


def test_a_key_of_the_file_that_an_override_makes_unknown_is_named_with_its_line(
    folder: Path, problems: Problems, edited: Edit
) -> None:
    (line,) = problems(edited("= 0.1", "= 0.1\nmomentum = 0.5"), "optimizer.type=sgd")
    assert line.startswith(f"{folder}/run.toml:28: optimizer.momentum: unknown key")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ": empty (expected at least the tables [data] and [network])"),
        (b"\n \t\n", ": empty (expected at least the tables [data] and [network])"),
        (b"seed = 1\ndtype = '\xff'\n", ":2: not UTF-8 text (got byte 0xff)"),
        ("seed = 1".encode("utf-16"), ":1: not UTF-8 text (got byte 0xff)"),
        (bytes(range(256)) * 4000, ": too large for a configuration (expected at most 200000 bytes)"),
        (b"a." * 90_000 + b"a = 1", ": a key has more than 1000 parts"),
        (b"a = " + b"[" * 160_000, ": values are nested too deeply"),
        (b"a = " + b"{a=" * 60_000, ": values are nested too deeply"),
    ],
)
def test_a_file_that_is_no_configuration_at_all_is_one_line(
    folder: Path, content: bytes, expected: str, problems: Problems
) -> None:
    assert problems(content) == [f"{folder}/run.toml{expected}"]


@pytest.mark.parametrize("piece", [b"x", b"[", b"[[a]]\n", b"\x00", b"a=1\n", b'"""', b"\r", b"{", b"#", "é=".encode()])
def test_a_large_file_of_garbage_is_refused_quickly(piece: bytes, problems: Problems) -> None:
    assert problems(piece * (200_000 // len(piece)))


def test_files_that_cannot_be_read_are_one_line(folder: Path) -> None:
    assert check(folder / "nowhere.toml") == [f"{folder}/nowhere.toml: no such file"]
    assert check(folder / "folder.csv") == [f"{folder}/folder.csv: is a folder (expected a TOML file)"]
    assert check(folder / "train.csv" / "x.toml") == [f"{folder}/train.csv/x.toml: can't be read: Not a directory"]
    assert check(Path("/dev/zero")) == ["/dev/zero: is no regular file (expected a TOML file)"]
    assert check(folder / "a\0b.toml") == [f"{folder}/a\\x00b.toml: can't be read: embedded null byte"]
    assert len(check(folder / ("a" * 300 + ".toml"))) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n", "\r\n"), ("\n", " # é\n"), (" = ", "\t=\t"), ("seed", "\ufeffseed"), ("[", " [ "), ("\n", "\n\n")],
)
def test_line_ends_blanks_comments_and_byte_order_marks_do_no_harm(
    folder: Path, old: str, new: str, problems: Problems, sound: str
) -> None:
    text = sound.replace(old, new).replace("[  [", "[[")
    assert problems(text) == []
    line = text.replace("\r\n", "\n").split('"momentum"')[0].count("\n") + 1
    (problem,) = problems(text.replace('"momentum"', '"none"'))
    assert problem.startswith(f"{folder}/run.toml:{line}: optimizer.type: unknown value")


def test_a_configuration_error_ends_a_command_with_2_and_holds_all_lines(folder: Path) -> None:
    (folder / "run.toml").write_text("seed = -1\nx = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(folder / "run.toml")
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 4


def test_data_files_are_not_asked_for_when_told_so(folder: Path, edited: Edit) -> None:
    (folder / "run.toml").write_text(edited("train.csv", "gone.csv"))
    assert load_config(folder / "run.toml", check_files=False).data.train == "gone.csv"
