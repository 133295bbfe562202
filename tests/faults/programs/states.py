"""Small checkpoints to write and read, and what a folder of them must be like after a fault."""

from pathlib import Path

import numpy as np

from distprop import manifest
from distprop.training.checkpoint import Checkpoint, Checkpoints, Progress, read_checkpoint

CONFIG = "settings data"
LENGTH = 37


def checkpoint(step: int) -> Checkpoint:
    """One that depends on its step alone."""
    params, m, v, best = np.random.default_rng(step).normal(size=(4, LENGTH)).astype(np.float32)
    progress = Progress(step=step, epoch=1, minibatch=step, loss=0.1 * step, weight=1 / 3, best=0.5, best_epoch=1)
    return Checkpoint(progress, params, {"m": m, "v": v}, best, CONFIG)


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Bit for bit."""
    return one.progress == other.progress and one.config == other.config and _bytes(one) == _bytes(other)


def _bytes(checkpoint: Checkpoint) -> list[tuple[str, str, bytes]]:
    vectors = [pair for file in checkpoint.files().values() for pair in sorted(file.items())]
    return [(name, vector.dtype.str, vector.tobytes()) for name, vector in vectors]


def folder_with(folder: Path, *steps: int) -> Checkpoints:
    """A folder in which checkpoints of these steps have been written."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder, keep=2)
    for step in steps:
        checkpoints.save(checkpoint(step))
    return checkpoints


def problem_of(folder: Path, allowed: tuple[int, ...], least: int, damaged: tuple[str, ...] = ()) -> str | None:
    """What is wrong with a folder after a fault; None if all is well.

    The newest checkpoint must be of an allowed step and have its bits, `least` whole ones must be there, nothing that
    has a checkpoint's name may be damaged, and the next start leaves nothing but checkpoints.
    """
    checkpoints = Checkpoints(folder, keep=2)
    checkpoints.remove_leftovers()
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if not name.startswith("step-")]
    if foreign:
        return f"left over: {foreign}"
    try:
        newest, problems = checkpoints.load(CONFIG)
        others = [name for name in names if name not in damaged and (newest is None or name != newest.name)]
        whole = [*([newest] if newest else []), *(read_checkpoint(folder / name) for name in others)]
    except manifest.CheckpointError as error:
        return f"a visible checkpoint is damaged: {error}"
    if newest is None:
        return None if 0 in allowed else "no checkpoint is left"
    if newest.progress.step not in allowed:
        return f"step {newest.progress.step} instead of {allowed}: {problems}"
    if len(whole) < least:
        return f"only {names} are left"
    wrong = [one.name for one in whole if not same(one, checkpoint(one.progress.step))]
    return f"other bits: {wrong}" if wrong else None
