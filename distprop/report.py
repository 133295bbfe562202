"""The lines that tell how a run goes: shown by the launcher, or by rank 0 under somebody else's mpirun."""

import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

COMPILING = "compiling kernels for this network, once on this machine"

# In this order, as far as a record has them.
EPOCH_KEYS = ("loss", "accuracy", "r2", "validation_loss", "validation_accuracy", "validation_r2", "learning_rate")


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print one line. A reader that has gone, such as a closed terminal, or a full disk must not end a training."""
    stream = stream or sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError:
        discard(stream)


def discard(stream: TextIO) -> None:
    """Send a stream nowhere from now on; Python writes what it still holds at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def epoch_line(record: Mapping[str, Any], status: Mapping[str, Any] | None) -> str:
    """Training and validation numbers of one epoch."""
    epochs = (status or {}).get("epochs")
    head = f"epoch {record['epoch']}" + (f"/{epochs}" if epochs else "")
    numbers = [f"{key.replace('_', ' ')} {_number(record[key])}" for key in EPOCH_KEYS if key in record]
    speed = record.get("samples_per_s")
    return "  ".join([head, *numbers, *([f"{speed:,.0f} samples/s"] if speed else [])])


def status_line(status: Mapping[str, Any]) -> str:
    """Where a run is, its speed and the time left."""
    step, steps = status.get("step"), status.get("steps")
    if status["phase"] != "training" or not step or not steps:
        return str(status["phase"])
    parts = [f"step {step}/{steps} ({100 * step // steps} %)"]
    if status.get("loss") is not None:
        parts.append(f"loss {_number(status['loss'])}")
    if status.get("samples_per_s"):
        parts.append(f"{status['samples_per_s']:,.0f} samples/s")
    if status.get("seconds_left") is not None:
        parts.append(f"{duration(status['seconds_left'])} left")
    return "  ".join(parts)


def counted(number: int, noun: str) -> str:
    """Such as 1 rank, 2 ranks."""
    return f"{number} {noun}{'s' * (number != 1)}"


def size(count: int) -> str:
    """Such as 812 B, 3.4 kB, 1.2 GB."""
    value, unit = float(count), 0
    while value >= 1000 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.1f} {' kMGT'[unit]}B"


def duration(seconds: float) -> str:
    """Such as 8.3 s, 2 min 05 s, 3 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"
