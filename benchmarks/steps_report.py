"""What steps.py writes: tables in Markdown, with the machine and the date."""

import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from peers import peer_python
from steps_task import Task
from steps_turns import Turn

# Ours over theirs, by the sides' names in steps_turns.py.
RATIOS = {
    "PyTorch eager": ("1 rank", "PyTorch"),
    "torch.compile": ("1 rank", "torch.compile"),
    "JAX jitted step": ("1 rank", "JAX step"),
    "JAX epoch in scan": ("1 rank", "JAX scan"),
    "scikit-learn": ("1 rank", "scikit-learn"),
    "2 ranks / PyTorch DDP": ("2 ranks", "PyTorch DDP"),
    "2 ranks / two runs": ("2 ranks", "two runs"),
}
KINDS = ("data", "compute", "exchange", "update")  # of a step's seconds
Turns = Mapping[str, Sequence[Turn]]  # by side, one a round


def ratios(turns: Turns, ours: str, theirs: str) -> str:
    """Median and range of the rounds' ratios: "2.31 (2.2 to 2.5)"."""
    found = [a.samples_per_s / b.samples_per_s for a, b in zip(turns[ours], turns[theirs], strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def _speed(turns: Sequence[Turn]) -> float:
    return statistics.median(turn.samples_per_s for turn in turns)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ratio_table(measured: Mapping[Task, Turns]) -> str:
    took_part = set(next(iter(measured.values())))
    pairs = {name: pair for name, pair in RATIOS.items() if took_part.issuperset(pair)}
    rows = [
        [task.name, task.optimizer, *(ratios(turns, *pair) for pair in pairs.values())]
        for task, turns in measured.items()
    ]
    return _table(["network, batch", "optimizer", *pairs], rows)


def speed_table(measured: Mapping[Task, Turns]) -> str:
    sides = list(next(iter(measured.values())))
    rows = [
        [task.name, task.optimizer, *(f"{_speed(turns[side]) / task.batch:,.0f}" for side in sides)]
        for task, turns in measured.items()
    ]
    return _table(["network, batch", "optimizer", *sides], rows)


def profile_table(measured: Mapping[Task, Turns], tile: float) -> str:
    """Where our steps' time goes. products: the rate of the matrix products, if they had the whole step's time."""
    rows = [
        _profile(task, side, turns[side], tile)
        for task, turns in measured.items()
        for side in ("1 rank", "2 ranks")
        if side in turns
    ]
    head = ["network, batch", "optimizer", "side", "step, µs", *KINDS, "rest", "GFLOP/s a rank", "of the tile's"]
    return _table(head, rows)


def _profile(task: Task, side: str, turns: Sequence[Turn], tile: float) -> list[str]:
    turn = sorted(turns, key=lambda turn: turn.samples_per_s)[len(turns) // 2]
    step = task.batch / turn.samples_per_s
    shares = [turn.split[kind] / turn.split["whole"] for kind in KINDS]
    gflops = task.flops / step * 1e-9 / int(side.split()[0])
    percent = [f"{100 * share:.0f} %" for share in (*shares, 1 - sum(shares))]
    return [task.name, task.optimizer, side, f"{1e6 * step:,.1f}", *percent, f"{gflops:.1f}", f"{gflops / tile:.2f}"]


def machine() -> str:
    """Processor, cores and versions, and how busy the machine was."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
    ours = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("distprop", "numba", "numpy"))
    theirs = ", ".join(
        _version(environment, name)
        for environment, name in (("peers", "torch"), ("peers", "scikit-learn"), ("peers-jax", "jax"))
    )
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    return f"{now}; {model}, {os.cpu_count()} cores, load {load}; Python {platform.python_version()}; {ours}; {theirs}."


def _version(environment: str, package: str) -> str:
    program = f"import importlib.metadata as m; print(m.version('{package}'))"
    command = [str(peer_python(environment)), "-c", program]
    return f"{package} {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}"
