"""Watches ranks from the start of mpirun to its end, and tells from the run directory how they ended."""

import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from distprop.errors import DistpropError, Interrupted
from distprop.heartbeat.listener import Listener
from distprop.heartbeat.sender import STACKS
from distprop.heartbeat.watch import Limits, Verdict, Watch, where
from distprop.launch.command import Command
from distprop.launch.family import signal_process
from distprop.launch.processes import Processes, start_processes
from distprop.launch.progress import Progress
from distprop.run_directory import Failure, RunDirectory

POLL_S = 0.05
REPORT_S = 0.25
STOP_S = 1.0  # between two requests to stop: one that a rank gets too early is lost
END_S = 10.0  # for mpirun to end after the run's outcome is known
LOG_LINES = 20
# Exit codes of an mpirun that was killed, or of which a rank was, by SIGKILL, SIGTERM or a crash; or that lies. Others,
# before any rank has been heard of, mean that the ranks can't be started at all.
KILLED = (
    {0} | {kind * code for code in (6, 7, 9, 11, 15) for kind in (1, -1)} | {128 + code for code in (6, 7, 9, 11, 15)}
)
FULL_BYTES = 1 << 14  # what is left of a full disk
STACKS_S, FAR_STACKS_S = 0.5, 2.5  # for ranks to write their stacks; on other hosts they are asked in a beat's answer
RANKS_ENDED = "the ranks ended (mpirun: {})"
COMPILING_FAILED = "compiling failed ({})"
# SIGHUP: the terminal was closed; SIGUSR1: a scheduler's warning.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class RunFailedError(DistpropError):
    """A run that ended by an error of one rank or of mpirun. The text is what that rank, or mpirun, said.

    reason: the same in one line; kind: in one word; may_pass: whether another start may go well.
    """

    def __init__(
        self, text: str, exit_code: int = 1, *, kind: str = "died", reason: str = "", may_pass: bool = False
    ) -> None:
        super().__init__(text)
        self.exit_code, self.kind, self.may_pass = exit_code, kind, may_pass
        self.reason = reason or text.splitlines()[-1]


class HungError(RunFailedError):
    """Ranks didn't get on and were killed."""

    def __init__(self, text: str, kind: str) -> None:
        super().__init__(f"{text}; all ranks were killed", 6, kind=kind, reason=text, may_pass=True)


class KilledError(DistpropError):
    """Asked to stop twice."""

    exit_code = 130


@dataclass
class Stop:
    """How many times we have been asked to stop, and when we last asked the ranks."""

    requests: int = 0
    asked: float = 0.0


@dataclass(frozen=True)
class Ranks:
    """What is started. command: of an address that the ranks send their heartbeats to."""

    command: Callable[[str], Command]
    count: int
    limits: Limits
    addresses: tuple[str, ...] = ()  # of this host, for ranks on others
    fetch: Callable[[], None] = lambda: None  # what ranks have written on hosts that don't share the run's folder


def supervise(ranks: Ranks, run: RunDirectory, progress: Progress, stop: Stop) -> dict[str, Any]:
    """Start the ranks and wait for their end. Return the last status of a run that is done.

    Raises RunFailedError with the first failing rank's words, HungError if ranks hang, Interrupted after a checkpoint
    that was asked for, KilledError if that was asked for twice. No process of the run is left in any case.
    """
    run.clear_outcome()
    stop.asked = 0.0
    with Listener(ranks.addresses) as listener:
        watch = Watch(ranks.count, ranks.limits)
        processes = start_processes(ranks.command(listener.address), run.mpirun_log)
        try:
            verdict = _wait(processes, run, progress, stop, listener, watch)
        finally:
            processes.end()
    if stop.requests < 2:
        ranks.fetch()
    status = _outcome(run, stop, processes.mpirun.returncode, verdict, watch)
    if verdict:  # ranks that were stopped went on to write their stacks, and the few steps that were left
        run.add_incident(verdict.kind, verdict.text, restarted=False)
    return status


def finish(command: Command, run: RunDirectory, processes: int, stop: Stop, limit_s: float) -> None:
    """Run a command that the ranks need done before, in so many processes that share the work.

    Raises as `supervise` does, also if it is asked to stop: there is nothing to keep then.
    """
    run.clear_outcome()
    started: list[Processes] = []
    until = time.monotonic() + limit_s
    try:
        started += [start_processes(command, run.mpirun_log) for _ in range(processes)]
        while not stop.requests and any(one.mpirun.poll() is None for one in started) and time.monotonic() < until:
            time.sleep(POLL_S)
    finally:
        for one in started:
            one.end(grace_s=0)
    failed = [one.mpirun.returncode for one in started if one.mpirun.returncode != 0]
    if stop.requests or failed:
        late = f"compiling took longer than {limit_s:.0f} s (launch.compile_seconds)"
        _outcome(
            run, stop, failed[0] if failed else None, ended=late if time.monotonic() >= until else COMPILING_FAILED
        )


@contextmanager
def stoppable() -> Iterator[None]:
    """Until there are ranks, which `stop_requests` is for: a request to stop raises Interrupted."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise Interrupted("stopped before training began; start it again with the same command")

    with _handled(leave):
        yield


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Count requests to stop instead of dying of them. What nohup has made ignored stays so."""
    stop = Stop()

    def count(number: int, frame: FrameType | None) -> None:
        stop.requests += 1

    with _handled(count):
        yield stop


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS if _heeded(number)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _heeded(number: signal.Signals) -> bool:
    return number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN


def _wait(
    processes: Processes, run: RunDirectory, progress: Progress, stop: Stop, listener: Listener, watch: Watch
) -> Verdict | None:
    """Until mpirun has ended, or must be ended; why, if it is because ranks hang."""
    ending: float | None = None
    status: dict[str, Any] | None = None
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
        watch.hear(listener.hear(POLL_S), time.monotonic())
        verdict = watch.verdict(started=status is not None) if ending is None else None
        if verdict:
            _write_stacks(processes, listener, watch)
            return verdict
        if stop.requests > 1 or (ending is not None and now - ending > END_S):
            return None
        if stop.requests == 1 and not _ask(processes, run, progress, stop, now):
            return None
    watch.hear(listener.hear(), time.monotonic())
    progress.update(run, run.read_status())
    return None


def _write_stacks(processes: Processes, listener: Listener, watch: Watch) -> None:
    """Have all ranks write the stacks of their threads: those of this machine, and by these those of others."""
    members, host = processes.family.members(), socket.gethostname()
    here = [beat for beat in watch.beats if beat.host == host and beat.process in members]
    elsewhere = [beat for beat in watch.beats if beat not in here]
    listener.want_stacks(elsewhere)
    for beat in here:
        signal_process(beat.process, STACKS)
        signal_process(beat.process, signal.SIGCONT)  # one that is stopped writes them when it goes on
    until = time.monotonic() + (FAR_STACKS_S if elsewhere else STACKS_S)
    while (left := until - time.monotonic()) > 0:
        listener.hear(left)


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


def _outcome(
    run: RunDirectory,
    stop: Stop,
    code: int | None,
    verdict: Verdict | None = None,
    watch: Watch | None = None,
    ended: str = RANKS_ENDED,
) -> dict[str, Any]:
    """Only what the ranks wrote counts: mpirun ends with 0 after some failures, and with others after success."""
    status = run.read_status() or {"phase": None}
    if status["phase"] == "done":
        return status
    if stop.requests > 1:
        raise KilledError(f"killed; continue from the last checkpoint with: distprop resume {run.path}")
    failures = run.failures()
    if failures:
        first = failures[0]
        reason = f"rank {first.rank}: {first.text.rstrip().splitlines()[-1]}"
        raise RunFailedError(_describe(first), first.exit_code, reason=reason, may_pass=first.may_pass)
    if verdict:  # before the next: ranks that were told to end may have ended well
        raise HungError(verdict.text, verdict.kind)
    if status["phase"] == "stopped" or (stop.requests and not stop.asked):  # the latter: ended before they were ready
        raise Interrupted(f"stopped at step {status.get('step', 0)}; continue with: distprop resume {run.path}")
    raise _unexplained(run, code, watch, ended)


def _describe(failure: Failure) -> str:
    text = failure.text.rstrip()
    return text if "\n" not in text else f"{text}\nrank {failure.rank} ended with {failure.kind}; the run has ended"


def _unexplained(run: RunDirectory, code: int | None, watch: Watch | None, ended: str) -> RunFailedError:
    """What can be told of an end that no rank has told of."""
    if shutil.disk_usage(run.path).free < FULL_BYTES:  # then no rank could tell why it ended
        return RunFailedError(f"{run.path}: no space left on this disk; make room, then: distprop resume {run.path}")
    lines = run.mpirun_log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line for line in lines if line.strip()][-LOG_LINES:]
    ending = "still there" if code is None else f"signal {-code}" if code < 0 else f"code {code}"
    reason = ended.format(ending)
    if watch and watch.first_gone and (code is None or code >= 0):  # else mpirun was killed, and the ranks with it
        reason = f"{watch.first_gone} has died, last heard of {where(watch.first_gone)}"
    text = "\n".join([*said, f"{reason} before the run was done; all output: {run.mpirun_log}"])
    return RunFailedError(text, reason=reason, may_pass=bool(watch and watch.beats) or code in KILLED)
