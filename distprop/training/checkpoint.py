"""Checkpoints: all that training needs to go on exactly where it was, on any number of ranks.

A file holds the parameters, the optimizer's state, the best parameters so far, and the progress: where in which epoch,
and what early stopping and the schedule remember. Nothing in it depends on the number of ranks. It is written under a
temporary name, forced to disk and renamed; the SHA-256 of all that it holds is checked when it is read.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from distprop.errors import CheckpointError
from distprop.network.program import Array
from distprop.training.model import load_tensors, save_tensors
from distprop.training.schedules import PlateauState

FORMAT = "distprop checkpoint 1"


@dataclass(frozen=True)
class Progress:
    """Where training is. Counts are of what is done, so they also number what comes next, from 0."""

    step: int = 0
    epoch: int = 0
    minibatch: int = 0  # of the epoch
    loss: float = 0.0  # of the epoch so far: weighted sum,
    weight: float = 0.0  # the sum of weights,
    correct: float = 0.0  # and the weight of what was classified right
    best: float | None = None  # monitored number of the best epoch, lower is better
    best_epoch: int = 0  # from 1
    anchor: float | None = None  # monitored number that early stopping compares with
    waited: int = 0  # epochs without improvement, for early stopping
    plateau: PlateauState = field(default_factory=PlateauState)
    finished: bool = False


@dataclass(frozen=True)
class Checkpoint:
    progress: Progress
    params: Array
    state: Mapping[str, Array]  # the optimizer's slots, each a flat vector
    best: Array | None  # parameters of the best epoch
    config: str  # digest of what the model depends on


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint and remove all but the newest `keep`."""
    tensors: dict[str, Array] = {"params": checkpoint.params}
    tensors |= {f"state.{name}": slot for name, slot in checkpoint.state.items()}
    if checkpoint.best is not None:
        tensors["best"] = checkpoint.best
    about = {
        "format": FORMAT,
        "progress": asdict(checkpoint.progress),
        "config": checkpoint.config,
    }
    path = folder / f"step-{checkpoint.progress.step:010d}.safetensors"
    save_tensors(path, tensors, about)
    for old in _files(folder)[keep:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path, config: str, warnings: TextIO | None) -> Checkpoint | None:
    """The newest checkpoint that is whole; None if there was never one.

    What is wrong with newer ones is told to `warnings`, if given.
    Raises CheckpointError if there are some and none is whole, or if it belongs to another configuration.
    """
    problems = []
    for path in _files(folder):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if checkpoint.config != config:
            raise CheckpointError(f"{path}: made with another configuration or other data; start a new run")
        if problems and warnings:
            print(f"warning: {'; '.join(problems)}; going on from {path.name}", file=warnings, flush=True)
        return checkpoint
    if problems:
        raise CheckpointError("; ".join(problems))
    return None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file. Raises CheckpointError that names it if any bit of it is wrong."""
    about, tensors = load_tensors(path)
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint")
    from distprop.config.adapters import adapter  # imports Pydantic, which a new run doesn't need

    try:
        progress: Progress = adapter(Progress).validate_python(about["progress"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
    state = {name.removeprefix("state."): array for name, array in tensors.items() if name.startswith("state.")}
    return Checkpoint(progress, tensors["params"], state, tensors.get("best"), str(about.get("config")))


def _files(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)
