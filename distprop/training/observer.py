"""Who looks on while a run directory's run is trained: signals in, status and metrics and checkpoints out.

Rank 0 alone writes. Every rank listens to signals; what one hears, all agree on in the next step's exchange.
"""

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from distprop.comm.communicator import Communicator
from distprop.config.run import Config
from distprop.report import COMPILING
from distprop.run_directory import RunDirectory
from distprop.training.checkpoint import Checkpoint, Progress, save_checkpoint
from distprop.training.evaluation import Evaluation
from distprop.training.loop import CHECKPOINT, STOP
from distprop.training.step import PHASES, StepsResult

Show: TypeAlias = Callable[[Mapping[str, Any], Mapping[str, Any]], None]  # takes an epoch's record and the status

SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
STATUS_S = 0.5


def times_of_ranks(seconds: npt.NDArray[np.float64]) -> dict[str, Any]:
    """What a record tells of the ranks' times (size, len(PHASES)): seconds of each rank by phase since the start.

    slowest_rank: whose work, which is all but waiting and exchange, took longest; imbalance: how many times the mean.
    """
    times: dict[str, Any] = {"seconds": dict(zip(PHASES, np.round(seconds, 6).T.tolist(), strict=True))}
    work = seconds[:, [phase not in ("exchange", "wait") for phase in PHASES]].sum(axis=1)
    if len(work) > 1 and work.any():
        times |= {"slowest_rank": int(work.argmax()), "imbalance": round(float(work.max() / work.mean()), 3)}
    return times


class RunObserver:
    """Used as a context, within which SIGUSR1, SIGTERM and SIGINT ask for a stop after the present step."""

    def __init__(self, run: RunDirectory, config: Config, comm: Communicator, show: Show | None) -> None:
        self._run, self._config, self._comm, self._show = run, config, comm, show
        self._asked = 0
        self._before: dict[signal.Signals, Any] = {}
        self._writes = comm.rank == 0
        self._begin(Progress(), 0, 1)

    def _begin(self, progress: Progress, total_steps: int, steps_per_epoch: int) -> None:
        now = time.monotonic()
        self._started = now
        self._start_step, self._total_steps = progress.step, total_steps
        self._steps_per_epoch = steps_per_epoch
        self._saved, self._told, self._logged = now, now, now
        self._samples, self._speed, self._loss = 0, 0.0, float("nan")
        self._epoch_begin, self._epoch_samples = now, 0
        self._seconds = np.zeros((self._comm.size, len(PHASES)))

    def __enter__(self) -> "RunObserver":
        if threading.current_thread() is threading.main_thread():  # no other thread gets signals
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        self._comm.barrier()  # from here on no rank dies of a request to stop
        self._status("starting", Progress())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1

    def compiling(self) -> None:
        self._status("compiling", Progress())
        if self._writes and self._show:
            print(COMPILING, flush=True)

    def training(self, progress: Progress, total_steps: int, steps_per_epoch: int) -> None:
        """Training begins, or goes on, from `progress`."""
        if self._writes:
            self._run.truncate_metrics(progress.step)
        self._begin(progress, total_steps, steps_per_epoch)
        self._status("training", progress)

    def finished(self, progress: Progress, digest: str) -> None:
        """The model is on disk: only now the run has succeeded."""
        self._status("done", progress, digest=digest)

    def stopped(self, progress: Progress) -> None:
        self._status("stopped", progress)

    def most_steps(self, progress: Progress) -> int:
        periods = (self._config.training.log_every, self._config.checkpoint.every_steps)
        return min(period - progress.step % period for period in periods if period)

    def wish(self, progress: Progress, steps: int) -> int:
        rules, wishes = self._config.checkpoint, STOP if self._asked else 0
        if rules.every_steps and (progress.step + steps) % rules.every_steps == 0:
            wishes |= CHECKPOINT
        if self._writes and rules.every_seconds and time.monotonic() - self._saved >= rules.every_seconds:
            wishes |= CHECKPOINT
        return wishes

    def steps_done(self, progress: Progress, result: StepsResult, learning_rate: float) -> None:
        if not self._writes:
            return
        now = time.monotonic()
        self._samples += result.samples
        self._epoch_samples += result.samples
        self._loss = result.loss / result.weight if result.weight else float("nan")
        self._seconds = result.seconds
        if progress.step % self._config.training.log_every == 0:
            self._log_step(progress, result, learning_rate, now)
        if now - self._told >= STATUS_S:
            self._status("training", progress)

    def _log_step(self, progress: Progress, result: StepsResult, learning_rate: float, now: float) -> None:
        self._run.append_metrics(
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
        self._run.append_metrics(record)
        self._epoch_begin, self._epoch_samples = now, 0
        self._status("training", progress)
        if self._show:
            self._show(record, self._record("training", progress))

    def save(self, checkpoint: Checkpoint) -> None:
        if self._writes:
            save_checkpoint(self._run.checkpoints, checkpoint, self._config.checkpoint.keep)
        self._saved = time.monotonic()
        self._comm.barrier()  # a rank that ends now ends after the file is whole

    def _status(self, phase: str, progress: Progress, **more: Any) -> None:
        self._told = time.monotonic()
        if self._writes:
            self._run.write_status(self._record(phase, progress) | more)

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
        }
