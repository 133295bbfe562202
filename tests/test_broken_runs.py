"""Broken configurations and data from the command line: one line, the right exit code, at once, and no process left."""

import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., "CompletedProcess[str]"]

CONFIG = """
[data]
train = "train.csv"

[network]
layers = [{ type = "dense", units = 3 }]
loss = { type = "softmax_cross_entropy" }

[optimizer]
type = "adam"

[training]
batch_size = 16
epochs = 1
"""
ROWS = "x,y,target\n" + "".join(f"{n % 7},{n % 5},{'abc'[n % 3]}\n" for n in range(50))
LIMIT_S = 3.0


def attempt(config: str, rows: str, folder: Path, distprop: Run) -> tuple[int, str]:
    """Train on 2 ranks: the exit code and what was said. The fixture fails if a process is left."""
    (folder / "train.csv").write_text(rows)
    (folder / "broken.toml").write_text(config)
    done = distprop("train", "broken.toml", "-n", "2")
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("epochs = 1", "epocs = 1", 'broken.toml:14: training.epocs: unknown key; did you mean "epochs"?'),
        ('"adam"', '"adm"', "broken.toml:10: optimizer.type"),
        ("units = 3", 'units = "3"', "broken.toml:6: network.layers.0.units: wrong type"),
        ("[optimizer]", "[optimizer", "broken.toml:9:"),
        ("train.csv", "trian.csv", 'broken.toml:3: data.train: no such file (got "trian.csv"'),
    ],
)
def test_a_broken_configuration_ends_in_one_line(old: str, new: str, line: str, tmp_path: Path, distprop: Run) -> None:
    code, said = attempt(CONFIG.replace(old, new), ROWS, tmp_path, distprop)
    assert code == 2 and line in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (ROWS + "1,2\n", "train.csv, line 52: 2 values, but the header names 3 columns"),
        (ROWS + "1,n/a,a\n", 'train.csv, line 52, column "y": "n/a" is not a number'),
        (ROWS + "1,,a\n", 'train.csv, line 52, column "y": the value is missing'),
        (ROWS + "inf,1,a\n", 'train.csv, line 52, column "x": the value is infinite'),
        (ROWS.replace("target", "label"), 'no column "target"'),
        ("x,y,target\n", "no rows"),
    ],
)
def test_broken_data_end_in_one_line(rows: str, line: str, tmp_path: Path, distprop: Run) -> None:
    code, said = attempt(CONFIG, rows, tmp_path, distprop)
    assert code == 3 and line in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.measured
@pytest.mark.parametrize(("config", "rows"), [(CONFIG.replace('"adam"', '"adm"'), ROWS), (CONFIG, ROWS + "1,n/a,a\n")])
def test_a_mistake_is_told_within_3_seconds(config: str, rows: str, tmp_path: Path, distprop: Run) -> None:
    seconds = []
    for _ in range(5):  # other processes may delay one start, hardly five
        began = time.perf_counter()
        attempt(config, rows, tmp_path, distprop)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < LIMIT_S


def test_rows_that_overflow_in_a_layer_end_all_ranks_in_one_line_that_names_their_lines(
    tmp_path: Path, distprop: Run
) -> None:
    huge = "3e38,3e38,a\n"  # fit float32, but no sum of them does
    config = CONFIG.replace("{ type", '{ type = "dense", units = 8, activation = "relu" }, { type', 1)
    code, said = attempt(config + "shuffle = false\n", ROWS.replace("3,3,a\n", huge, 1), tmp_path, distprop)
    assert code == 5 and said.count("\n") == 1
    line = 1 + ROWS.splitlines().index("3,3,a")
    assert "not finite at step 1 (epoch 1, minibatch 1): loss " in said
    assert f": the output of dense_1 for line {line} of {tmp_path / 'train.csv'}, the gradient of dense_2" in said


def test_targets_that_are_no_probabilities_are_told_with_their_line(tmp_path: Path, distprop: Run) -> None:
    config = CONFIG.replace("softmax_cross_entropy", "binary_cross_entropy").replace("units = 3", "units = 1")
    rows = "x,y,target\n" + "".join(f"{n % 7},{n % 5},{n / 60}\n" for n in range(50)) + "1,2,1.5\n"
    code, said = attempt(config.replace('"train.csv"', '"train.csv"\ntarget_kind = "values"'), rows, tmp_path, distprop)
    assert code == 3 and said.count("\n") == 1 and not (tmp_path / "runs").exists()
    assert f"line 52 of {tmp_path / 'train.csv'}: a target of 1.5 is no probability" in said


def test_a_mistake_that_only_the_ranks_can_see_is_told_once(tmp_path: Path, distprop: Run) -> None:
    (tmp_path / "train.csv").write_text(ROWS)
    (tmp_path / "broken.toml").write_text(CONFIG.replace("units = 3", "units = 4"))
    done = distprop("train", "broken.toml", "-n", "2")
    assert (
        done.returncode == 2
        and "the targets have 3 classes: set units = 3" in done.stderr
        and done.stderr.count("\n") == 1
    )
