"""Memory of preparing a CSV file and training on it: python benchmarks/memory.py [rows ...]

Each run is `distprop train` on 2 ranks for one epoch in minibatches of 1024, on 20 columns and a class, by default of
100,000, 250,000 and 1,000,000 rows. Every process of the run is sampled a hundred times a second for its anonymous
memory (RssAnon): what it has allocated, without the pages of mapped files, which the kernel takes back when it needs
them. Prints the peak of the launcher (which prepares the data), of a rank, and of all processes together.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from data import write_csv

CONFIG = """
[data]
train = "{path}"

[network]
layers = [
    {{ type = "standardise" }},
    {{ type = "dense", units = 64, activation = "relu" }},
    {{ type = "dense", units = 2 }},
]
loss = {{ type = "softmax_cross_entropy" }}

[training]
epochs = 1
batch_size = 1024
"""
RANKS = 2
INTERVAL_S = 0.01
LIMIT_S = 600.0
MIB = 1 << 20


@dataclass
class Peak:
    """Peaks of anonymous memory in bytes: of each process by its role, and of all together."""

    total: int = 0
    by_role: dict[str, int] = field(default_factory=dict)

    def add(self, sample: dict[str, list[int]]) -> None:
        self.total = max(self.total, sum(map(sum, sample.values())))
        for role, sizes in sample.items():
            self.by_role[role] = max(self.by_role.get(role, 0), *sizes)


def train(path: Path, folder: Path) -> tuple[Peak, float]:
    """The peaks and the seconds of preparing and training, with an empty cache of data."""
    config = folder / "memory.toml"
    config.write_text(CONFIG.format(path=path))
    command = [sys.executable, "-m", "distprop.cli", "train", str(config), "-n", str(RANKS)]
    peak, began = Peak(), time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        while time.perf_counter() - began < LIMIT_S:
            try:
                process.wait(INTERVAL_S)
                break
            except subprocess.TimeoutExpired:
                peak.add(_sample(process.pid))
    if process.returncode != 0:
        raise SystemExit("the training failed")
    return peak, time.perf_counter() - began


def _sample(launcher: int) -> dict[str, list[int]]:
    """Bytes of each process of the run, by role."""
    found: dict[str, list[int]] = {"launcher": [], "rank": [], "other": []}
    for pid in (launcher, *_descendants(launcher)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            size = _anonymous(pid)
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


def _anonymous(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def main(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DISTPROP_CACHE"] = str(folder / "cache")
        for rows in [1000, *sizes]:  # the first one compiles
            path = folder / f"{rows}.csv"
            write_csv(path, rows)
            peak, seconds = train(path, folder)
            if rows >= 10_000:
                parts = ", ".join(f"{role} {size / MIB:.1f}" for role, size in peak.by_role.items())
                print(f"{rows:>9,} rows: {seconds:6.2f} s, peak MiB: total {peak.total / MIB:.1f}, {parts}", flush=True)
            path.unlink()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [100_000, 250_000, 1_000_000])
