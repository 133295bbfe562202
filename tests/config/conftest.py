"""A sound configuration for tests to break, and the folder that it needs."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from distprop.cli import main
from distprop.config import check

SOUND = """\
seed = 3
dtype = "float64"

[data]
train = "train.csv"
validation_fraction = 0.25
columns = { target = "species" }

[[network.layers]]
type = "dense"
units = 16
activation = "relu"

[[network.layers]]
type = "dropout"
rate = 0.5

[[network.layers]]
type = "dense"
units = 3

[network.loss]
type = "softmax_cross_entropy"

[optimizer]
type = "momentum"
learning_rate = 0.1

[schedule]
type = "cosine"

[training]
epochs = 4
batch_size = 20

[launch]
ranks = 2
"""


@pytest.fixture
def sound() -> str:
    return SOUND


@pytest.fixture
def edited() -> Callable[[str, str], str]:
    """The sound configuration with one place changed."""

    def edit(old: str, new: str) -> str:
        assert SOUND.count(old) == 1, "an edit has to hit one place"
        return SOUND.replace(old, new)

    return edit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    return tmp_path


@pytest.fixture
def problems(folder: Path) -> Callable[..., list[str]]:
    """All problems of a file with this content, found in less than 3 s of work."""

    def find(content: str | bytes, *overrides: str) -> list[str]:
        path = folder / "run.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        start = time.process_time()
        found = check(path, overrides)
        assert time.process_time() - start < 3
        assert all(line.isprintable() for line in found)
        return found

    return find


@pytest.fixture
def refused(
    folder: Path,
    problems: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., list[str]]:
    """What `distprop train` and `distprop check` say of a file with this content, of which no run may come."""
    monkeypatch.chdir(folder)

    def find(content: str) -> list[str]:
        found = problems(content)
        for command in (["train", str(folder / "run.toml"), "-n", "2"], ["check", str(folder / "run.toml")]):
            assert main(command) == 2
            output, errors = capsys.readouterr()
            assert output == "" and errors == "".join(f"{line}\n" for line in found)
        assert not (folder / "runs").exists()
        return found

    return find
