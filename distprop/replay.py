"""A window of a run that is computed again: the digests that the run has recorded in it, beside the new ones."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distprop.errors import UsageError
from distprop.report import counted
from distprop.run_directory import RunDirectory

REPLAY = "replay.json"  # in the folder in which ranks find a run's configuration, and this window


@dataclass(frozen=True)
class Window:
    """Steps first to last of the run in the folder `run`, an absolute path.

    steps: of these, the ones with a recorded digest. is_end: the run was done after the last one.
    """

    run: str
    first: int
    last: int
    steps: tuple[int, ...]
    is_end: bool

    def write(self, folder: Path) -> None:
        (folder / REPLAY).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Window":
        fields = json.loads((folder / REPLAY).read_text(encoding="utf-8"))
        return cls(**fields | {"steps": tuple(fields["steps"])})


@dataclass(frozen=True)
class Comparison:
    """A digest that the run has recorded, and the same computed again; what: the step, or "model" for the model's."""

    what: int | str
    recorded: str
    recomputed: str | None  # None: training never came there

    @property
    def same(self) -> bool:
        return self.recorded == self.recomputed

    def to_object(self) -> dict[str, Any]:
        return {"step": self.what, "recorded": self.recorded, "recomputed": self.recomputed, "same": self.same}


def window_of(run: RunDirectory, first: int, last: int) -> Window:
    """The window of a run. UsageError if there is nothing to compare in it."""
    recorded, status = [step for step, _ in digests_of(run)], run.read_status() or {}
    if not recorded:
        raise UsageError(
            f"{run.path}: no digest of parameters is recorded; this run can't be compared with another one"
        )
    end = max([record["step"] for record in run.read_metrics()] + [status.get("step", 0)])
    if last > end:
        raise UsageError(
            f"{run.path} has done {counted(end, 'step')} (got --steps {first}:{last}, expected at most {end})"
        )
    is_end = status.get("phase") == "done" and last == status.get("step")
    steps = sorted({step for step in recorded if first <= step <= last})
    if not steps and not is_end:
        near = [
            max((s for s in recorded if s < first), default=None),
            min((s for s in recorded if s > last), default=None),
        ]
        around = " and ".join(str(step) for step in near if step is not None)
        raise UsageError(
            f"{run.path}: no digest is recorded in steps {first} to {last}; the nearest are those of {around}"
        )
    return Window(str(run.path.absolute()), first, last, tuple(steps), is_end)


def digests_of(run: RunDirectory) -> list[tuple[int, str]]:
    """Steps done and the parameters' digest after them, as the metrics tell them."""
    records = [record for record in run.read_metrics() if record.get("digest")]
    return list(dict.fromkeys((record["step"], str(record["digest"])) for record in records))


def compare(window: Window, again: RunDirectory) -> list[Comparison]:
    """Every recorded digest of a window, beside that of the run that has computed it again."""
    run, computed = RunDirectory(Path(window.run)), dict(digests_of(again))
    found = [
        Comparison(step, digest, computed.get(step))
        for step, digest in sorted(digests_of(run))
        if window.first <= step <= window.last
    ]
    if window.is_end:
        recorded, new = (str((one.read_status() or {}).get("digest")) for one in (run, again))
        found.append(Comparison("model", recorded, new or None))
    return found


def replay_object(window: Window, found: Sequence[Comparison]) -> dict[str, Any]:
    """The same as one JSON object."""
    about = {"run": window.run, "first": window.first, "last": window.last, "same": all(one.same for one in found)}
    return about | {"digests": [one.to_object() for one in found]}


def table(found: Sequence[Comparison]) -> str:
    """A line for each comparison."""
    width = max(len(str(one.what)) for one in found)
    return "\n".join(
        f"{one.what:>{width}}  recorded {one.recorded}  recomputed {one.recomputed or 'never'}  "
        f"{'same' if one.same else 'DIFFERENT'}"
        for one in found
    )
