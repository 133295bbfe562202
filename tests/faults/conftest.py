"""The programs beside these tests, as modules: what runs in a process of its own and what doesn't share them."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from distprop.comm.serial import Serial
from distprop.config import load_config, resolve, write_config
from distprop.run_directory import RunDirectory
from distprop.training.observer import RunObserver
from distprop.training.run import prepared_material, train_run

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]
SHORT_SEED = 20261125  # of the short tier, so that it is the same everywhere; the long tier adds its own


@pytest.fixture(scope="session")
def faults() -> SimpleNamespace:
    """Modules calls, states and power; the folder `programs`; and a seed."""
    sys.path.insert(0, str(PROGRAMS))
    try:
        modules = {name: importlib.import_module(name) for name in ("calls", "states", "power")}
    finally:
        sys.path.remove(str(PROGRAMS))
    return SimpleNamespace(**modules, programs=PROGRAMS, seed=SHORT_SEED)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, if there is one, for what is written and removed thousands of times."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="distprop-test-") as folder:
        yield Path(folder)


PACED = """
seed = 7
[data]
train = "train.csv"
validation_fraction = 0.2
[network]
layers = [
    { type = "dense", units = 6, activation = "tanh" },
    { type = "dropout", rate = 0.1 },
    { type = "dense", units = 1 },
]
loss = { type = "mean_squared_error" }
[training]
batch_size = 32
shards = 4
steps = 400
log_every = 5
[checkpoint]
every_seconds = 3600
every_steps = 40
"""
STEPS, EVERY = 400, 40


class Paced:
    """Runs of a small network that take some seconds, of which the model is known."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(200))
        (folder / "train.csv").write_text("x,y,target\n" + rows)
        (folder / "paced.toml").write_text(PACED)
        self.golden = self._train_here()
        began = time.monotonic()
        subprocess.run([*self.command("train", "paced.toml", "-n", "2"), "--run", "timed"], cwd=folder, check=True,
                       timeout=200, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        self.seconds = time.monotonic() - began
        assert self.digest("timed") == self.golden

    def _train_here(self) -> str:
        run = RunDirectory.create(self.folder / "golden")
        config = resolve(load_config(self.folder / "paced.toml"), self.folder)
        write_config(config, run.config)
        comm = Serial()
        with RunObserver(run, config, comm, None) as observer:
            return train_run(run, config, prepared_material(config), comm, observer).model.digest()

    @staticmethod
    def command(*arguments: str) -> list[str]:
        """`distprop` with these arguments, whose ranks are paced."""
        return [sys.executable, str(PROGRAMS / "launch.py"), *arguments]

    def run(self, name: str) -> RunDirectory:
        return RunDirectory(self.folder / name)

    def digest(self, name: str) -> str:
        """Of a run that is done."""
        status = self.run(name).read_status()
        assert status and status["phase"] == "done", status
        return str(status["digest"])

    def incidents(self, name: str) -> list[dict[str, Any]]:
        file = self.folder / name / "incidents.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="session")
def paced(tmp_path_factory: pytest.TempPathFactory) -> Paced:
    return Paced(tmp_path_factory.mktemp("paced"))


@pytest.fixture
def run_command(run_command: Any) -> Any:
    """As elsewhere, without a moment's grace for what our own launcher leaves behind."""
    run_command.ending_s = 0.0
    return run_command


@pytest.fixture
def ranks_of(run_command: Any) -> Callable[[], dict[int, psutil.Process]]:
    """Call it for the ranks of commands that run, by number."""

    def ranks() -> dict[int, psutil.Process]:
        found = {}
        for process in run_command.members(run_command.tokens):
            try:
                environment, program = process.environ(), process.cmdline()
            except (psutil.Error, OSError):
                continue
            rank = environment.get("OMPI_COMM_WORLD_RANK") or environment.get("PMI_RANK")
            if rank is not None and len(program) > 1 and program[1].endswith("faulty_rank.py"):
                found[int(rank)] = process
        return found

    return ranks


@pytest.fixture
def disk() -> Callable[[Path, str], AbstractContextManager[Callable[[str], object]]]:
    """Call it with a folder and a size, and use it as a context: a small disk in memory, which only root may mount.

    What it gives changes the disk's options.
    """

    @contextmanager
    def mounted(folder: Path, size: str) -> Iterator[Callable[[str], object]]:
        folder.mkdir()
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if made.returncode:
            pytest.skip("no disk can be mounted here")
        try:
            yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)

    return mounted


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its tests. With its path in PYTHONPATH, Python imports it instead of the project's."""
    copy = tmp_path / "copy"
    for part in ("distprop", "tests", "examples"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy
