"""The folder of one run: the only place where the launching side and the ranks meet.

    config.toml         the resolved configuration
    status.json         where the run is; replaced about twice a second by rank 0
    metrics.jsonl       one JSON object a line: {"kind": "step", "epoch", "digest" or "checkpoint", "step": ...}
    timeline.json       every rank's calls of the first steps, if asked for: a Chrome trace
    checkpoints/        what a resumed run starts from, a folder each; see training/checkpoint.py
    model.safetensors   the trained model: of the best epoch if a validation number is monitored, else of the last
    failures/rank-N.json  why rank N ended, if it failed
    incidents.jsonl     one JSON object for each time that ranks died or hung; incidents/N/ has their logs
    logs/               mpirun.log and rank-N.log

Rank 0 writes its first status after a barrier behind which every rank handles SIGUSR1, so a launcher that sees a
status may ask for a stop by that signal. Before its first status of the phase "training" it drops the metrics that a
resumed run reports again. The phases of a status are those of `PHASES`. A run has succeeded if and only if its phase is
"done", which rank 0 writes after the model is on disk; no exit code of mpirun proves that.
"""

import errno
import fcntl
import json
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from distprop.config import write_config
from distprop.config.run import Config
from distprop.errors import UsageError
from distprop.files import sync, written_whole

GENERATION = re.compile(r"step-(\d{10,})-epoch-(\d{6,})")  # a checkpoint's folder
EARLIER = re.compile(r"step-(\d{10})\.safetensors")  # one of the first format was a file
LEFTOVER = re.compile(r"\.(config\.toml|status\.json|metrics\.jsonl|model\.safetensors)\.\d+")  # see written_whole
PHASES = ("starting", "compiling", "training", "stopped", "done")


@dataclass(frozen=True)
class Failure:
    """Why one rank ended: `kind` is the exception's name, `text` its traceback, or one line for a DistpropError.

    may_pass: it isn't known that it would fail again if it were started again.
    """

    rank: int
    kind: str
    text: str
    exit_code: int
    time: float
    may_pass: bool


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run below `path`."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Make the folder of a new run. UsageError if it is there already and not empty."""
        if (path / "config.toml").exists():
            raise UsageError(
                f"{path} already holds a run; continue it with: distprop resume {path}, or choose another --run"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(f"{path} is not empty; choose a new folder for --run")
            return cls(path)._with_folders()
        except OSError as error:
            raise UsageError(
                f"{path}: can't make a folder for the run here: {error.strerror}; choose another --run"
            ) from error

    @classmethod
    def create_named(cls, stem: str, parent: Path = Path("runs")) -> "RunDirectory":
        """Make runs/<stem>, or runs/<stem>-2 and so on if that is taken; two that start at once get different ones."""
        try:
            parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    path = next_free(stem, parent)
                    path.mkdir()
                    return cls(path)._with_folders()
                except FileExistsError:
                    continue
        except OSError as error:
            raise UsageError(
                f"{parent}: can't make a folder for the run here: {error.strerror}; choose one with --run"
            ) from error

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The run that is in `path`. UsageError if none is."""
        if not (path / "config.toml").is_file():
            problem = "holds no run (no config.toml in it)" if path.is_dir() else "there is no such folder"
            raise UsageError(f"{path}: {problem}; give the folder of a run, such as runs/digits")
        return cls(path)

    def begin(self, config: Config) -> None:
        """Write the configuration of a new run. UsageError if it can't be written; then nothing of the run is left."""
        try:
            write_config(config, self.config)
        except OSError as error:
            shutil.rmtree(self.path, ignore_errors=True)
            raise UsageError(f"{self.config}: {error.strerror}; choose another --run") from error

    @property
    def config(self) -> Path:
        return self.path / "config.toml"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @cached_property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def timeline(self) -> Path:
        return self.path / "timeline.json"

    @property
    def mpirun_log(self) -> Path:
        return self.logs / "mpirun.log"

    def log(self, rank: int) -> Path:
        return self.logs / f"rank-{rank}.log"

    def append_metrics(self, *records: Mapping[str, Any]) -> None:
        """Add a line for each to metrics.jsonl, in one write; numbers that are not finite become null.

        Of lines that the disk has no room for nothing is left, so that the next one is whole.
        """
        lines = "".join(_json(record) + "\n" for record in records).encode()
        with self.metrics.open("ab", buffering=0) as file:
            before, written = file.seek(0, os.SEEK_END), 0
            try:
                written = file.write(lines)
                if written < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.metrics))
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl."""
        return self.read_metrics_from(0)[0]

    def read_metrics_from(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The whole lines of metrics.jsonl from a byte on, and the byte behind them.

        A last line without its newline was cut short by the end of its writer, or is being written. Damaged lines are
        left out: nothing depends on them.
        """
        if not self.metrics.exists():
            return [], offset
        with self.metrics.open("rb") as file:
            file.seek(offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        records = [record for line in whole.splitlines() if (record := _object(line)) and "step" in record]
        return records, offset + len(whole) + len(newline)

    def truncate_metrics(self, step: int) -> None:
        """Drop what was reported after `step`: a run that is resumed there reports it again.

        A digest of the state after `step` is reported with the next one.
        """
        kept = [record for record in self.read_metrics() if record["step"] + (record.get("kind") == "digest") <= step]
        if self.metrics.exists():
            write_whole(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def write_status(self, status: Mapping[str, Any], *, durable: bool = False) -> None:
        """Replace status.json. "time" is added here.

        Keys: phase, start_step (where this start of the ranks began), step, steps, epoch, epochs, samples_per_s,
        seconds_left, loss, warnings (of this start); when it is done also digest (of the parameters), and model: bytes
        and sha256 of the model's file.
        """
        write_whole(self.status, _json({**status, "time": time.time()}), durable=durable)

    def read_status(self) -> dict[str, Any] | None:
        """The last status, or None if no rank has written one yet."""
        try:
            status = _object(self.status.read_bytes())
        except FileNotFoundError:
            return None
        return status if status and "phase" in status else None

    def write_failure(self, rank: int, kind: str, text: str, exit_code: int, *, may_pass: bool = False) -> None:
        """Record why this rank ends."""
        folder = self.path / "failures"
        folder.mkdir(exist_ok=True)
        record = {"rank": rank, "kind": kind, "text": text, "exit_code": exit_code, "time": time.time()}
        write_whole(folder / f"rank-{rank}.json", json.dumps(record | {"may_pass": may_pass}))

    def failures(self) -> list[Failure]:
        """All ranks' failures, the earliest first: later ones are mostly its consequences."""
        records = (
            json.loads(file.read_text(encoding="utf-8")) for file in (self.path / "failures").glob("rank-*.json")
        )
        return sorted((Failure(**record) for record in records), key=lambda failure: (failure.time, failure.rank))

    def add_incident(self, kind: str, reason: str, *, restarted: bool) -> Path:
        """Record that ranks have died or hung, and put their logs aside, where the returned folder is."""
        incidents = self.path / "incidents"
        incidents.mkdir(exist_ok=True)
        folder = incidents / str(1 + sum(1 for _ in incidents.iterdir()))
        folder.mkdir()
        for log in self.logs.iterdir():
            log.rename(folder / log.name)
        status = self.read_status() or {}
        record = {"time": time.time(), "kind": kind, "reason": reason, "step": status.get("step"), "logs": folder.name}
        with (self.path / "incidents.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record | {"restarted": restarted}) + "\n")
        return folder

    def clear_outcome(self) -> None:
        """Forget the status and failures of an earlier start, so that what is there later belongs to this one."""
        self.status.unlink(missing_ok=True)
        for file in (self.path / "failures").glob("rank-*.json"):
            file.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove files that a process which has died was writing under temporary names, and nothing else."""
        for path in self.path.iterdir():
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def recorded_checkpoint(self) -> str | None:
        """The name of the last checkpoint that metrics.jsonl tells of: it must still be there, or a newer one."""
        names = [str(record.get("name")) for record in self.read_metrics() if record.get("kind") == "checkpoint"]
        return names[-1] if names and age_of(names[-1]) else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the run to ourselves while it is trained. UsageError if another process trains it."""
        with (self.path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UsageError(
                    f"{self.path}: this run is being trained by another process; wait, or stop it"
                ) from error
            os.set_inheritable(lock.fileno(), True)  # an mpirun that outlives its launcher keeps the run from others
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # also for processes of the mpirun's that are about to end

    def _with_folders(self) -> "RunDirectory":
        self.checkpoints.mkdir()
        self.logs.mkdir()
        for above in self.path.absolute().parents[:2]:  # so that no loss of power takes the folder that all will be in
            with suppress(OSError):  # it may not be ours to read
                sync(above)
        return self  # the configuration, which is written next, forces this folder to disk


def generations(folder: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not, the newest first."""
    found = [path for path in (folder.iterdir() if folder.is_dir() else ()) if age_of(path.name)]
    return sorted(found, key=lambda path: (age_of(path.name), path.name), reverse=True)


def age_of(name: str) -> tuple[int, ...]:
    """Steps and epochs of the checkpoint of this name; () if it is none's."""
    whole, earlier = GENERATION.fullmatch(name), EARLIER.fullmatch(name)
    return (int(whole[1]), int(whole[2])) if whole else (int(earlier[1]), 0) if earlier else ()


def next_free(stem: str, parent: Path = Path("runs")) -> Path:
    """The first of <parent>/<stem>, <parent>/<stem>-2, ... that is not there."""
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path


def write_whole(path: Path, text: str, *, durable: bool = False) -> None:
    """Replace a file at once: a reader sees the old text or the new one. It is forced to disk only if `durable`."""
    with written_whole(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _object(text: bytes) -> dict[str, Any] | None:
    """The JSON object in a text, None if it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


_encode = json.JSONEncoder(allow_nan=False).encode


def _json(record: Mapping[str, Any]) -> str:
    try:
        return _encode(record)
    except ValueError:
        return _encode(_finite(record))


def _finite(value: Any) -> Any:
    """The same value with None for each number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
