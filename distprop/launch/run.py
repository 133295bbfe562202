"""Watches one run from the start of mpirun to its end, and tells from the run directory how it ended."""

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from distprop.errors import DistpropError, Interrupted
from distprop.launch.command import Command
from distprop.launch.processes import Processes, start_processes
from distprop.launch.progress import Progress
from distprop.run_directory import Failure, RunDirectory

POLL_S = 0.05
REPORT_S = 0.25
STOP_S = 1.0  # between two requests to stop: one that a rank gets too early is lost
END_S = 10.0  # for mpirun to end after the run's outcome is known
LOG_LINES = 20
FULL_BYTES = 1 << 14  # what is left of a full disk
RANKS_ENDED = "the ranks ended (mpirun: {})"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one: the terminal was closed


class RunFailedError(DistpropError):
    """A run that ended by an error of one rank or of mpirun. The text is what that rank, or mpirun, said."""

    def __init__(self, text: str, exit_code: int = 1):
        super().__init__(text)
        self.exit_code = exit_code


class KilledError(DistpropError):
    """Asked to stop twice."""

    exit_code = 130


@dataclass
class Stop:
    """How many times we have been asked to stop, and when we last asked the ranks."""

    requests: int = 0
    asked: float = 0.0


def supervise(command: Command, run: RunDirectory, progress: Progress) -> dict[str, Any]:
    """Start the ranks and wait for their end. Return the last status of a run that is done.

    Raises RunFailedError with the first failing rank's words, Interrupted after a checkpoint that SIGINT or SIGTERM
    asked for, KilledError after a second one. No process of the run is left in any case.
    """
    run.clear_outcome()
    with _stop_requests() as stop:
        processes = start_processes(command, run.mpirun_log)
        try:
            _wait(processes, run, progress, stop)
        finally:
            processes.end()
            progress.close()
    return _outcome(run, stop, processes.mpirun.returncode)


def finish(command: Command, run: RunDirectory, processes: int) -> None:
    """Run a command that the ranks need done before, in so many processes that share the work.

    Raises as `supervise` does, also if it is asked to stop: there is nothing to keep then.
    """
    run.clear_outcome()
    with _stop_requests() as stop:
        started: list[Processes] = []
        try:
            started += [start_processes(command, run.mpirun_log) for _ in range(processes)]
            while not stop.requests and any(one.mpirun.poll() is None for one in started):
                time.sleep(POLL_S)
        finally:
            for one in started:
                one.end(grace_s=0)
    failed = [one.mpirun.returncode for one in started if one.mpirun.returncode != 0]
    if stop.requests or failed:
        _outcome(run, stop, failed[0] if failed else None, "compiling failed ({})")


@contextmanager
def _stop_requests() -> Iterator[Stop]:
    """Count requests to stop instead of dying of them. What nohup has made ignored stays so."""
    stop = Stop()

    def count(number: int, frame: FrameType | None) -> None:
        stop.requests += 1

    before = {number: signal.signal(number, count) for number in STOP_SIGNALS if _heeded(number)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded(number: signal.Signals) -> bool:
    return number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN


def _wait(processes: Processes, run: RunDirectory, progress: Progress, stop: Stop) -> None:
    """Until mpirun has ended, or must be ended."""
    ending: float | None = None
    reported, computing = 0.0, False
    while processes.mpirun.poll() is None:
        now = time.monotonic()
        if now - reported >= REPORT_S:
            reported = now
            status = run.read_status()
            phase = status and status["phase"]
            if phase == "training" and not computing:  # then the ranks have all the memory that they share
                computing = True
                processes.remember_segments()
            progress.update(run, status)
            if ending is None and (phase in ("done", "stopped") or run.failures()):
                ending = now
        if stop.requests > 1 or (ending is not None and now - ending > END_S):
            return
        if stop.requests == 1 and not _ask(processes, run, progress, stop, now):
            return
        time.sleep(POLL_S)
    progress.update(run, run.read_status())


def _ask(processes: Processes, run: RunDirectory, progress: Progress, stop: Stop, now: float) -> bool:
    """Ask the ranks to stop after a checkpoint. False if they are not ready for it yet: there is nothing to keep."""
    if _phase(run) is None:
        return False
    if stop.asked == 0.0:
        progress.note("stopping after a checkpoint; Ctrl-C again kills the run at once")
    if now - stop.asked >= STOP_S:
        stop.asked = now
        processes.request_stop()
    return True


def _phase(run: RunDirectory) -> str | None:
    status = run.read_status()
    return None if status is None else str(status["phase"])


def _outcome(run: RunDirectory, stop: Stop, code: int | None, failed: str = RANKS_ENDED) -> dict[str, Any]:
    """Only what the ranks wrote counts: mpirun ends with 0 after some failures, and with others after success."""
    status = run.read_status() or {"phase": None}
    if status["phase"] == "done":
        return status
    if stop.requests > 1:
        raise KilledError(f"killed; continue from the last checkpoint with: distprop resume {run.path}")
    failures = run.failures()
    if failures:
        raise RunFailedError(_describe(failures[0]), failures[0].exit_code)
    if status["phase"] == "stopped" or (stop.requests and not stop.asked):  # the latter: ended before they were ready
        raise Interrupted(f"stopped at step {status.get('step', 0)}; continue with: distprop resume {run.path}")
    raise RunFailedError(_unexplained(run, code, failed))


def _describe(failure: Failure) -> str:
    text = failure.text.rstrip()
    return text if "\n" not in text else f"{text}\nrank {failure.rank} ended with {failure.kind}; the run has ended"


def _unexplained(run: RunDirectory, code: int | None, failed: str) -> str:
    if shutil.disk_usage(run.path).free < FULL_BYTES:  # then no rank could tell why it ended
        return f"{run.path}: no space left on this disk; make room, then: distprop resume {run.path}"
    lines = run.mpirun_log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip()][-LOG_LINES:]
    ending = "still there" if code is None else f"signal {-code}" if code < 0 else f"code {code}"
    return "\n".join([*said, f"{failed.format(ending)} before the run was done; all output: {run.mpirun_log}"])
