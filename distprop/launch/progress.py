"""Shows how a run goes: a live line on a terminal, and one line an epoch anywhere."""

import sys
from typing import Any

from distprop.run_directory import RunDirectory

# In this order, as far as a record has them.
EPOCH_KEYS = ("loss", "accuracy", "r2", "validation_loss", "validation_accuracy", "validation_r2", "learning_rate")


class Progress:
    """What has been shown so far. With `live`, a line with speed and time left is kept below the epochs' lines."""

    def __init__(self, live: bool | None = None):
        self._offset = 0  # what has been read of metrics.jsonl
        self._console: Any = None
        self._live: Any = None
        if sys.stdout.isatty() if live is None else live:
            self._open()

    def update(self, run: RunDirectory) -> None:
        """Show what is new in the run directory since the ranks have started."""
        status = run.read_status()
        if status is None:
            return
        records, self._offset = run.read_metrics_from(self._offset)
        for record in records:
            if record["kind"] == "epoch" and record["step"] > status.get("start_step", 0):
                self._print(epoch_line(record, status))
        if self._live is not None:
            self._live.update(status_line(status))

    def note(self, text: str) -> None:
        """Show one line."""
        self._print(text)

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            self._live.stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False, soft_wrap=True)  # honours NO_COLOR
        self._live = Live("starting", console=self._console, transient=True, refresh_per_second=4)
        self._live.start()

    def _print(self, text: str) -> None:
        if self._console is None:
            print(text, flush=True)
        else:
            self._console.print(text, markup=False)


def epoch_line(record: dict[str, Any], status: dict[str, Any] | None) -> str:
    """Training and validation numbers of one epoch."""
    epochs = (status or {}).get("epochs")
    head = f"epoch {record['epoch']}" + (f"/{epochs}" if epochs else "")
    numbers = [f"{key.replace('_', ' ')} {_number(record[key])}" for key in EPOCH_KEYS if key in record]
    speed = record.get("samples_per_s")
    return "  ".join([head, *numbers, *([f"{speed:,.0f} samples/s"] if speed else [])])


def status_line(status: dict[str, Any]) -> str:
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


def duration(seconds: float) -> str:
    """Such as 8.3 s, 2 min 05 s, 3 h 07 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4g}"
