"""Checkpoints: what is damaged is noticed, the one before is taken, a failed write leaves nothing."""

import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distprop import files
from distprop.config.optimizers import Adam
from distprop.errors import CheckpointError
from distprop.training import model as model_files
from distprop.training.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from distprop.training.model import load_model, load_tensors, save_tensors
from distprop.training.schedules import PlateauState


def checkpoint(step=5, config="digest", best=True):
    rng = np.random.default_rng(step)
    params, m, v, best_params = rng.normal(size=(4, 37)).astype(np.float32)
    progress = Progress(
        step=step, epoch=2, minibatch=1, loss=0.1 + 0.2, weight=1 / 3, best=-1e-17, best_epoch=1, anchor=0.7, waited=2,
        plateau=PlateauState(0.3, 1, 0.05),
    )  # fmt: skip
    return Checkpoint(progress, params, {"m": m, "v": v}, best_params if best else None, config)


def same(one, other):
    arrays = [(c.params, c.best, *(c.state[name] for name in sorted(c.state))) for c in (one, other)]
    bits = [[None if a is None else (a.dtype.str, a.tobytes()) for a in group] for group in arrays]
    return one.progress == other.progress and bits[0] == bits[1] and sorted(one.state) == sorted(other.state)


@pytest.mark.parametrize("best", [True, False])
def test_what_is_saved_is_read_bit_for_bit(tmp_path, best):
    saved = checkpoint(best=best)
    path = save_checkpoint(tmp_path, saved, keep=2)
    assert same(read_checkpoint(path), saved) and same(load_checkpoint(tmp_path, "digest", None), saved)


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert load_checkpoint(tmp_path, "digest", None) is None


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_are_kept_by_their_step(tmp_path, keep):
    for step in (9, 10, 11, 100):
        save_checkpoint(tmp_path, checkpoint(step), keep)
    assert len(list(tmp_path.iterdir())) == keep
    assert load_checkpoint(tmp_path, "digest", None).progress.step == 100


def test_another_configuration_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, checkpoint(config="other"), keep=2)
    with pytest.raises(CheckpointError, match=rf"{path}: made with another configuration"):
        load_checkpoint(tmp_path, "digest", None)


def damages(content):
    """A name and a damaged content each: cut, flipped in every part of the file, emptied, replaced."""
    header = 8 + int.from_bytes(content[:8], "little")
    for size in (0, 7, 8, header - 1, header, header + 5, len(content) - 1):
        yield f"cut at {size}", content[:size]
    places = np.random.default_rng(1).integers(0, 8 * len(content), 300).tolist()
    text = range(8 * content.index(b"progress"), 8 * content.index(b"progress") + 400, 7)
    for bit in [*range(0, 64, 5), *places, *text]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(flipped)
    yield "more at the end", content + b"\0"
    yield "text", b"this is no checkpoint"


def test_any_damage_is_noticed_and_the_one_before_is_taken_with_one_warning(tmp_path):
    save_checkpoint(tmp_path, checkpoint(5), keep=2)
    path = save_checkpoint(tmp_path, checkpoint(6), keep=2)
    content = path.read_bytes()
    for name, damaged in damages(content):
        path.write_bytes(damaged)
        warnings = io.StringIO()
        assert same(load_checkpoint(tmp_path, "digest", warnings), checkpoint(5)), name
        assert warnings.getvalue().startswith(f"warning: {path}: ") and warnings.getvalue().count("\n") == 1, name
    path.write_bytes(content)
    assert same(load_checkpoint(tmp_path, "digest", None), checkpoint(6))


def test_files_of_another_kind_are_no_checkpoints(tmp_path):
    path = tmp_path / "step-0000000009.safetensors"
    save_tensors(path, {"params": np.zeros(3)}, {"format": "something else"})
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read_checkpoint(path)
    model_files.save_file({"params": np.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not a file of distprop's"):
        read_checkpoint(path)


def test_where_no_checkpoint_is_whole_training_does_not_start_again(tmp_path):
    for step in (5, 6):
        save_checkpoint(tmp_path, checkpoint(step), keep=2).write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(tmp_path, "digest", None)
    assert "step-0000000005" in str(caught.value) and "step-0000000006" in str(caught.value)


@pytest.mark.parametrize(("place", "fails"), [(model_files, "save_file"), (files, "sync"), (Path, "replace")])
def test_a_failed_write_leaves_the_one_before_and_nothing_else(tmp_path, monkeypatch, place, fails):
    save_checkpoint(tmp_path, checkpoint(5), keep=1)
    before = sorted(tmp_path.iterdir())

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(place, fails, full)
    with pytest.raises(CheckpointError, match=r"can't be written: .*No space left"):
        save_checkpoint(tmp_path, checkpoint(6), keep=1)
    monkeypatch.undo()
    assert sorted(tmp_path.iterdir()) == before
    assert same(load_checkpoint(tmp_path, "digest", None), checkpoint(5))


def test_numbers_that_are_not_finite_never_become_the_best(lab):
    config = lab.config_of(lab.network, validation=True, optimizer=Adam(0.02), training=lab.short)
    held_out = lab.validation
    broken = replace(held_out, weights=np.full(len(held_out), np.inf, np.float32))
    rank = lab.train(1, config, lab.training, broken)[0]
    progress = rank.outcome.progress
    assert not np.isfinite(rank.seen.epochs[0]["validation_loss"])
    assert progress.best is None and progress.anchor is None and progress.waited == 2 and progress.finished


def test_a_model_file_with_a_flipped_bit_is_noticed(lab, tmp_path):
    config = lab.config_of(lab.network, training=lab.short)
    model = lab.train(1, config, lab.training)[0].outcome.model
    path = tmp_path / "model.safetensors"
    model.save(path)
    assert load_model(path).digest() == model.digest()
    content = bytearray(path.read_bytes())
    for place in (-1, -len(content) // 2, content.index(b"encoding") + 40):
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=str(path)):
            load_model(path)
        content[place] ^= 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors: no such file"):
        load_tensors(tmp_path / "nothing.safetensors")


def test_a_model_file_has_the_mode_that_the_user_wants_for_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        save_tensors(tmp_path / "a.safetensors", {"x": np.zeros(3)}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_file_that_may_not_be_read_is_not_called_missing(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    save_tensors(tmp_path / "a.safetensors", {"x": np.zeros(3)}, {})
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: can't be read: Permission denied"):
        load_tensors(tmp_path / "a.safetensors")
