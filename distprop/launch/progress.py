"""Shows how a run goes: a live line on a terminal, and one line an epoch anywhere."""

import sys
from contextlib import suppress
from types import TracebackType
from typing import Any

from distprop.report import COMPILING, discard, epoch_line, status_line, tell
from distprop.run_directory import RunDirectory


class Progress:
    """What has been shown so far. With `live`, a line with speed and time left is kept below the epochs' lines."""

    def __init__(self, live: bool | None = None):
        self._offset = 0  # what has been read of metrics.jsonl
        self._phase = ""
        self._epoch = 0  # the last one that has been shown
        self._warned = 0  # how many of this start's warnings have been shown
        self._console: Any = None
        self._live: Any = None
        if sys.stdout.isatty() if live is None else live:
            self._open()

    def update(self, run: RunDirectory, status: dict[str, Any] | None) -> None:
        """Show what is new in the run directory since the ranks have started, of which this is the status."""
        if status is None:
            return
        if status["phase"] == "compiling" != self._phase:
            self.note(COMPILING)
        self._phase = status["phase"]
        warnings = status.get("warnings", [])
        for warning in warnings[self._warned :]:
            self.warn(warning)
        self._warned = len(warnings)
        if self._phase not in ("starting", "compiling"):  # until then the metrics may be an earlier start's
            self._show_epochs(run, status)
        if self._live is not None:
            self._live.update(status_line(status))

    def _show_epochs(self, run: RunDirectory, status: dict[str, Any]) -> None:
        begin = status.get("start_step", 0)
        records, self._offset = run.read_metrics_from(self._offset)
        for record in records:
            if record["kind"] == "epoch" and record["epoch"] > self._epoch and record["step"] > begin:
                self._epoch = record["epoch"]
                self.note(epoch_line(record, status))

    def restart(self, reason: str) -> None:
        """Other ranks will go on with this run: what they report again has been shown."""
        self.warn(reason)
        self._offset, self._warned, self._phase = 0, 0, ""

    def note(self, text: str) -> None:
        """Show one line."""
        if self._console is None:
            tell(text)
            return
        try:
            self._console.print(text, markup=False)
        except OSError:
            discard(sys.stdout)

    def warn(self, text: str) -> None:
        """Show one warning, on standard error unless the terminal has a live line."""
        if self._console is None:
            with suppress(OSError):
                print(f"warning: {text}", file=sys.stderr, flush=True)
        else:
            self.note(f"warning: {text}")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:  # take the live line away
            self._live.stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False, soft_wrap=True)  # honours NO_COLOR
        self._live = Live("starting", console=self._console, transient=True, refresh_per_second=4)
        self._live.start()


class Quiet(Progress):
    """Shows warnings alone: for commands whose output is read by programs."""

    def __init__(self) -> None:
        super().__init__(live=False)

    def note(self, text: str) -> None:
        pass
