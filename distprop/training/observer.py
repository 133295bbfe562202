"""Who looks on while a run directory's run is trained: signals in, status and metrics and checkpoints out.

Rank 0 alone writes. Every rank listens to signals; what one hears, all agree on in the next step's exchange.
"""

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Communicator
from distprop.config.run import Config
from distprop.environment import launched
from distprop.errors import CheckpointError
from distprop.heartbeat.pulse import COMPILING as COMPILING_NOW
from distprop.heartbeat.pulse import FIRST_STEP, LOADING, SAVING, VALIDATING, Pulse
from distprop.manifest import Sum
from distprop.report import COMPILING
from distprop.run_directory import RunDirectory
from distprop.training.checkpoint import Checkpoint, Checkpoints, Progress
from distprop.training.evaluation import Evaluation
from distprop.training.guards import hexadecimal
from distprop.training.loop import CHECKPOINT, STOP
from distprop.training.requests import StopRequests
from distprop.training.step import PHASES, StepsResult

Show: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], None]  # takes an epoch's record and the status

SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
STATUS_S = 0.5
SHARE = 0.01  # of the time, at most, that checkpoints may take if their interval is chosen here
LEAST_S, MOST_S = 30.0, 3600.0  # between them


def interval_s(every_seconds: float | Literal["auto"], cost_s: float) -> float:
    """Seconds of training between two checkpoints, of which the last one has held training up for cost_s.

    >>> interval_s("auto", 0.02), interval_s("auto", 2.0), interval_s("auto", 100.0), interval_s(5.0, 2.0)
    (30.0, 200.0, 3600.0, 5.0)
    """
    return every_seconds if every_seconds != "auto" else min(max(cost_s / SHARE, LEAST_S), MOST_S)


def times_of_ranks(seconds: npt.NDArray[np.float64]) -> dict[str, Any]:
    """What a record tells of the ranks' times (size, len(PHASES)): seconds of each rank by phase since the start.

    slowest_rank: whose work, which is all but waiting and exchange, took longest; imbalance: how many times the mean.
    """
    times: dict[str, Any] = {"seconds": dict(zip(PHASES, seconds.round(6).T.tolist(), strict=True))}
    if len(seconds) == 1:
        return times
    work = seconds[:, [phase not in ("exchange", "wait") for phase in PHASES]].sum(axis=1)
    if work.any():
        times |= {"slowest_rank": int(work.argmax()), "imbalance": round(float(work.max() / work.mean()), 3)}
    return times


class RunObserver:
    """Used as a context, within which SIGUSR1, SIGTERM and SIGINT ask for a stop after the present step."""

    def __init__(
        self, run: RunDirectory, config: Config, comm: Communicator, show: Show | None, pulse: Pulse | None = None
    ) -> None:
        self._run, self._config, self._comm, self._show = run, config, comm, show
        self._pulse = pulse or Pulse(comm.rank)
        self.checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
        self._kept: Progress | None = None  # of the last checkpoint
        self._warnings: list[str] = []
        self._later: list[Mapping[str, Any]] = []  # records for the metrics, to be written with the next one
        self._requests = StopRequests(SIGNALS)
        self._writes = comm.rank == 0
        self._begin(Progress(), 0, 1)

    def _begin(self, progress: Progress, total_steps: int, steps_per_epoch: int) -> None:
        now = time.monotonic()
        self._started = now
        self._start_step, self._total_steps = progress.step, total_steps
        self._steps_per_epoch = steps_per_epoch
        self._saved, self._told, self._logged, self._stepped = now, now, now, now
        self._cost = 0.0  # seconds that the last checkpoint has held training up
        self._samples, self._speed, self._loss = 0, 0.0, float("nan")
        self._epoch_begin, self._epoch_samples = now, 0
        self._seconds = np.zeros((self._comm.size, len(PHASES)))

    def __enter__(self) -> "RunObserver":
        self._requests.__enter__()
        self._comm.barrier()  # from here on no rank dies of a request to stop
        self._status("starting", Progress())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.__exit__(kind, error, trace)

    def compiling(self) -> None:
        self._pulse.enter(COMPILING_NOW)
        self._status("compiling", Progress())
        if self._writes and self._show:
            print(COMPILING, flush=True)

    def training(self, progress: Progress, total_steps: int, steps_per_epoch: int) -> None:
        """Training begins, or goes on, from `progress`."""
        self._pulse.step = progress.step
        self._pulse.enter(FIRST_STEP)
        if self._writes:
            self._run.truncate_metrics(progress.step)
        self._begin(progress, total_steps, steps_per_epoch)
        self._status("training", progress)

    def loading(self) -> None:
        """Checkpoints are read."""
        self._pulse.enter(LOADING)

    def ending(self) -> None:
        """Training is done, and the model is written."""
        self._pulse.enter(SAVING)

    def resumed(self, checkpoint: Checkpoint) -> None:
        """Training goes on from a checkpoint, which need not be written again."""
        self._kept = checkpoint.progress

    def finished(self, progress: Progress, digest: str, model: Sum) -> None:
        """The model is on disk: only now the run has succeeded."""
        if self._writes:
            record = self._record("done", progress) | {"digest": digest, "model": asdict(model)}
            self._run.write_status(record, durable=True)

    def stopped(self, progress: Progress) -> None:
        self._status("stopped", progress)

    def warn(self, problem: str) -> None:
        """One line for the user: our launcher finds it in the status, anybody else on standard error."""
        if not self._writes:
            return
        self._warnings.append(problem)
        if not launched():
            print(f"warning: {problem}", file=sys.stderr, flush=True)

    def most_steps(self, progress: Progress) -> int:
        periods = (self._config.training.log_every, self._config.checkpoint.every_steps)
        return min(period - progress.step % period for period in periods if period)

    def wish(self, progress: Progress, steps: int) -> int:
        rules, wishes = self._config.checkpoint, STOP if self._requests.count else 0
        if rules.every_steps and (progress.step + steps) % rules.every_steps == 0:
            wishes |= CHECKPOINT
        if self._writes and rules.every_seconds != 0:
            due = self._saved + interval_s(rules.every_seconds, self._cost)
            wishes |= CHECKPOINT if time.monotonic() >= due else 0
        return wishes

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        self._pulse.move(progress.step)
        if not self._writes:
            return
        now = self._stepped = time.monotonic()
        self._samples += result.samples
        self._epoch_samples += result.samples
        self._loss = result.loss / result.weight if result.weight else float("nan")
        self._seconds = result.seconds
        if result.digest:
            done, digest = result.digest
            self._later.append({"kind": "digest", "step": done, "digest": hexadecimal(digest)})
        if progress.step % self._config.training.log_every == 0:
            self._log_step(progress, result, learning_rate, now)
        if now - self._told >= STATUS_S:
            self._status("training", progress)

    def _log_step(self, progress: Progress, result: StepsResult, learning_rate: float, now: float) -> None:
        self._append(
            {
                "kind": "step",
                "step": progress.step,
                "epoch": progress.epoch + 1,
                "loss": self._loss,
                "gradient_norm": result.gradient_norm,
                "learning_rate": learning_rate,
                "samples_per_s": self._samples / max(now - self._logged, 1e-9),
                **times_of_ranks(result.seconds),
            }
        )
        self._logged, self._samples = now, 0

    def timeline(self, trace: str) -> None:
        if self._writes:
            self._run.timeline.write_text(trace, encoding="utf-8")

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        if not self._writes:
            return
        now = time.monotonic()
        self._speed = self._epoch_samples / max(now - self._epoch_begin, 1e-9)
        record: dict[str, Any] = {"kind": "epoch", "step": progress.step, "epoch": progress.epoch, **numbers}
        record["samples_per_s"] = self._speed
        record |= times_of_ranks(self._seconds)
        record["best_epoch"] = progress.best_epoch
        if evaluation is not None and evaluation.confusion is not None:
            record["validation_confusion"] = evaluation.confusion.tolist()
        self._append(record)
        self._epoch_begin, self._epoch_samples = now, 0
        self._status("training", progress)
        if self._show:
            self._show(record, self._record("training", progress))

    def validated(self) -> None:
        self._pulse.enter(VALIDATING)

    def save(self, checkpoint: Checkpoint) -> str | None:
        """Rank 0 writes; all learn what became of it."""
        if checkpoint.progress == self._kept:
            return None
        with self._pulse.during(SAVING):
            return self._save(checkpoint)

    def _save(self, checkpoint: Checkpoint) -> str | None:
        began = self._stepped if self._stepped > self._saved else time.monotonic()
        problem = ""
        if self._writes:
            try:
                self.checkpoints.save(checkpoint)
            except CheckpointError as error:
                left = f"that of step {self._kept.step} is as it was" if self._kept else "there is none before it"
                problem = f"{error}; {left}"
        problem = self._comm.broadcast(problem)  # a rank that ends now ends after the files are whole
        self._saved = time.monotonic()
        self._cost = self._saved - began
        if problem:
            return problem
        self._kept = checkpoint.progress
        self._append(
            {
                "kind": "checkpoint",
                "step": checkpoint.progress.step,
                "epoch": checkpoint.progress.epoch + 1,
                "name": checkpoint.name,
                "digest": checkpoint.digest,
                "checkpoint_seconds": round(self._cost, 6),
            }
        )
        return None

    def _append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics, after those that weren't urgent; training goes on without them if need be."""
        if self._writes:
            records, self._later = [*self._later, record], []
            self._optional(lambda: self._run.append_metrics(*records), self._run.metrics)

    def _optional(self, write: Callable[[], None], path: Path) -> None:
        """Write what training can do without: a disk that is full is told once, and ends nothing here."""
        try:
            write()
        except OSError as error:
            problem = f"{path}: can't be written: {error.strerror}; what is missing there is lost, training goes on"
            if problem not in self._warnings:
                self.warn(problem)

    def _status(self, phase: str, progress: Progress) -> None:
        self._told = time.monotonic()
        if not self._writes:
            return
        record = self._record(phase, progress)
        if phase == "training":
            self._optional(lambda: self._run.write_status(record), self._run.status)
        else:  # without these nobody would know how the run stands
            self._run.write_status(record)

    def _record(self, phase: str, progress: Progress) -> dict[str, Any]:
        done, now = progress.step - self._start_step, time.monotonic()
        elapsed = now - self._epoch_begin
        speed = self._epoch_samples / elapsed if elapsed > 0 and self._epoch_samples else self._speed
        steps_per_s = done / max(now - self._started, 1e-9) if done else 0.0
        left = (self._total_steps - progress.step) / steps_per_s if steps_per_s else None
        return {
            "phase": phase,
            "start_step": self._start_step,
            "step": progress.step,
            "steps": self._total_steps,
            "epoch": progress.epoch,
            "epochs": -(-self._total_steps // self._steps_per_epoch),
            "samples_per_s": speed,
            "seconds_left": left,
            "loss": self._loss,
            "warnings": list(self._warnings),
        }
