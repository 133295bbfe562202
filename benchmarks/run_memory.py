"""Memory of the processes of `distprop train`, for the benchmarks that look at it while it runs."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

CONFIG = """
[data]
train = "{path}"

[network]
layers = [
    {{ type = "standardise" }},
{layers}    {{ type = "dense", units = 2 }},
]
loss = {{ type = "softmax_cross_entropy" }}

[training]
epochs = {epochs}
batch_size = {batch}
log_every = 1
"""
RANKS = 2
INTERVAL_S = 0.01
LIMIT_S = 600.0


def config_of(path: Path, hidden: tuple[int, ...], batch: int, epochs: int) -> str:
    """A network on a CSV file of two classes, as TOML."""
    layers = "".join(f'    {{ type = "dense", units = {units}, activation = "relu" }},\n' for units in hidden)
    return CONFIG.format(path=path, layers=layers, epochs=epochs, batch=batch)


def train(config: str, run: Path, look: Callable[[int], None]) -> float:
    """The seconds of preparing and training. look(pid of the launcher) is called a hundred times a second."""
    path = run.with_suffix(".toml")
    path.write_text(config)
    command = [sys.executable, "-m", "distprop.cli", "train", path, "-n", str(RANKS), "--run", run]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while time.perf_counter() - began < LIMIT_S:
            try:
                process.wait(INTERVAL_S)
                break
            except subprocess.TimeoutExpired:
                look(process.pid)
        else:
            process.terminate()
    if process.returncode != 0:
        raise SystemExit("the training failed")
    return time.perf_counter() - began


def by_role(launcher: int, kind: str) -> dict[str, list[int]]:
    """Bytes of each process of the run, by role. kind: a line of /proc/PID/status."""
    found: dict[str, list[int]] = {"launcher": [], "rank": [], "other": []}
    for pid in (launcher, *_descendants(launcher)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            size = _bytes(pid, kind)
        except OSError:
            continue
        role = "rank" if b"distprop.worker" in words[1:3] else "launcher" if b"distprop.cli" in words[1:3] else "other"
        if role != "launcher" or pid == launcher:  # not a fork of it that is still to become mpirun
            found[role].append(size)
    return {role: sizes for role, sizes in found.items() if sizes}


def _descendants(pid: int) -> Iterator[int]:
    try:
        yield from (child.pid for child in psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return


def _bytes(pid: int, kind: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(kind)), 0)
