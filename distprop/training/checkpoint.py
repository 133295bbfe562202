"""Checkpoints: all that training needs to go on exactly where it was, on any number of ranks.

    checkpoints/step-0000000300-epoch-000002/    300 steps and 2 whole epochs are done
        params.safetensors     the parameters, as one vector
        optimizer.safetensors  the optimizer's state, a vector each
        best.safetensors       the parameters of the best epoch, if there is one
        manifest.json          the progress, what the run is made of, and the sums of these files

Nothing in it depends on the number of ranks. How such a folder is written and checked is in distprop/manifest.py.
"""

import functools
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from distprop.errors import CheckpointError
from distprop.manifest import MANIFEST, Manifest, check_folder, remove_folders, remove_leftovers, write_folder
from distprop.network.program import Array
from distprop.run_directory import EARLIER, GENERATION, generations
from distprop.training.schedules import PlateauState
from distprop.training.tensors import load_vectors, pieces_of

PARAMS, OPTIMIZER, BEST = "params.safetensors", "optimizer.safetensors", "best.safetensors"
NONE_LEFT = "no checkpoint of this run is left to go on from; start a new run"
CHUNK = 1 << 16  # numbers that are looked at together: they stay in the cache


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
    config: str  # digests of what the model depends on: of the configuration and of the data, with a space between
    digest: str = ""  # of params, where it was taken; it isn't written to the folder, whose files have sums

    @property
    def name(self) -> str:
        """That of its folder: no two checkpoints of a run share it, as steps go on and an epoch ends once."""
        return f"step-{self.progress.step:010d}-epoch-{self.progress.epoch:06d}"

    def files(self) -> dict[str, dict[str, Array]]:
        """The vectors of each file, by name."""
        files: dict[str, dict[str, Array]] = {PARAMS: {"params": self.params}}
        if self.state:
            files[OPTIMIZER] = dict(self.state)
        if self.best is not None:
            files[BEST] = {"best": self.best}
        return files

    def not_finite(self) -> str | None:
        """The first vector that has a number which is NaN or infinite; None if all are finite."""
        vectors = [pair for file in self.files().values() for pair in file.items()]
        return next((name for name, vector in vectors if not _all_finite(vector)), None)


class Checkpoints:
    """The checkpoints of one run, in the folder `path`; `keep` good ones are kept at least.

    Those that this process has written or read whole are known to be good. Others count for nothing when it is decided
    what may be removed.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path, self._keep = path, keep
        self._good: set[str] = set()

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, durably, then remove those that are older than the `keep` newest good ones.

        Raises CheckpointError, which names the file that can't be written. Older checkpoints are as they were then.
        """
        about = {
            "step": checkpoint.progress.step,
            "progress": asdict(checkpoint.progress),
            "config": checkpoint.config,
            "versions": versions(),
        }
        files = {name: pieces_of(vectors) for name, vectors in checkpoint.files().items()}
        write_folder(self.path / checkpoint.name, files, about)
        self._good.add(checkpoint.name)
        with suppress(OSError):  # what can't be removed now can be later; the new one is safe
            self._remove_old()

    def _remove_old(self) -> None:
        names = [path.name for path in generations(self.path)]
        good = [name for name in names if name in self._good]
        if len(good) > self._keep:
            oldest = names.index(good[self._keep - 1])
            remove_folders(self.path / name for name in names[oldest + 1 :])

    def load(self, config: str) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that verifies, and what is wrong with newer ones; None if there was never one.

        Raises CheckpointError if there are some and none verifies, or if it belongs to another configuration.
        """
        problems: list[str] = []
        for path in generations(self.path):
            try:
                return self.read(path.name, config), problems
            except OtherRunError:
                raise
            except CheckpointError as error:
                problems.append(str(error))
        if problems:
            raise CheckpointError("; ".join([*problems, NONE_LEFT]))
        return None, []

    def read(self, name: str, config: str) -> Checkpoint:
        """One checkpoint. Raises CheckpointError unless every bit of it is as written, for this configuration."""
        checkpoint = read_checkpoint(self.path / name)
        if checkpoint.config != config:
            other = _other(checkpoint.config, config)
            raise OtherRunError(f"{self.path / name}: made with {other}; bring that back, or start a new run")
        self._good.add(name)
        return checkpoint

    def remove_leftovers(self) -> None:
        """Remove what a process that has died was writing or removing, and nothing else."""
        remove_leftovers(self.path, GENERATION.pattern)


class OtherRunError(CheckpointError):
    """A checkpoint that is whole, but belongs to something else."""


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read one folder. Raises CheckpointError that names the file of which any bit is wrong."""
    if EARLIER.fullmatch(folder.name):
        raise CheckpointError(f"{folder}: written by an earlier version of distprop; finish the run with that one")
    manifest = check_folder(folder)
    progress = _progress(folder, manifest)
    vectors = {name: load_vectors(folder / name) for name in manifest.files}
    try:
        params, state, best = vectors[PARAMS]["params"], vectors.get(OPTIMIZER, {}), vectors.get(BEST, {}).get("best")
    except KeyError as error:
        raise CheckpointError(f"{folder}: no checkpoint: {error} is missing") from None
    others = [*state.values(), *([] if best is None else [best])]
    if any((other.shape, other.dtype) != (params.shape, params.dtype) for other in others):
        raise CheckpointError(f"{folder}: no checkpoint: its vectors differ in length or type")
    return Checkpoint(progress, params, state, best, str(manifest.about.get("config")))


def _progress(folder: Path, manifest: Manifest) -> Progress:
    from distprop.config.adapters import adapter  # imports Pydantic, which a new run doesn't need

    try:
        progress: Progress = adapter(Progress).validate_json(json.dumps(manifest.about["progress"]), strict=True)
    except (KeyError, ValueError):
        raise CheckpointError(f"{folder / MANIFEST}: no checkpoint: its progress isn't of this form") from None
    return progress


def _other(found: str, expected: str) -> str:
    """What differs, in words."""
    pairs = zip(found.split(" "), expected.split(" "), ("another configuration", "other data"), strict=False)
    return " and ".join(what for one, other, what in pairs if one != other) or "another configuration"


def _all_finite(vector: Array) -> bool:
    return all(bool(np.isfinite(vector[first : first + CHUNK]).all()) for first in range(0, len(vector), CHUNK))


@functools.cache
def versions() -> dict[str, str]:
    """What the numbers were computed with."""
    return {name: version(name) for name in ("distprop", "numpy", "numba")}
