"""Checkpoints: what is saved comes back bit for bit, the right ones are kept, the newest good one is taken.

What goes wrong on a disk, and with the power, is in tests/faults.
"""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from distprop.config.optimizers import SGD, Adam
from distprop.errors import CheckpointError, NonFiniteError
from distprop.training.checkpoint import Checkpoint, Checkpoints, Progress, read_checkpoint
from distprop.training.loop import CHECKPOINT
from distprop.training.model import load_model
from distprop.training.observer import interval_s
from distprop.training.schedules import PlateauState
from distprop.training.tensors import load_tensors, save_tensors


def checkpoint(step=5, config="settings data", best=True, epoch=2):
    rng = np.random.default_rng(step)
    params, m, v, best_params = rng.normal(size=(4, 37)).astype(np.float32)
    progress = Progress(
        step=step, epoch=epoch, minibatch=1, loss=0.1 + 0.2, weight=1 / 3, best=-1e-17, best_epoch=1, anchor=0.7,
        waited=2, plateau=PlateauState(0.3, 1, 0.05),
    )  # fmt: skip
    return Checkpoint(progress, params, {"m": m, "v": v}, best_params if best else None, config)


def same(one, other):
    arrays = [(c.params, c.best, *(c.state[name] for name in sorted(c.state))) for c in (one, other)]
    bits = [[None if a is None else (a.dtype.str, a.tobytes()) for a in group] for group in arrays]
    return one.progress == other.progress and bits[0] == bits[1] and sorted(one.state) == sorted(other.state)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("best", [True, False])
def test_what_is_saved_is_read_bit_for_bit(tmp_path, best):
    saved = checkpoint(best=best)
    Checkpoints(tmp_path, keep=2).save(saved)
    assert same(read_checkpoint(tmp_path / saved.name), saved)
    found, problems = Checkpoints(tmp_path, keep=2).load("settings data")
    assert same(found, saved) and problems == []


def test_an_optimizer_without_a_state_needs_no_file(tmp_path):
    saved = replace(checkpoint(best=False), state={})
    Checkpoints(tmp_path, keep=2).save(saved)
    assert names(tmp_path / saved.name) == ["manifest.json", "params.safetensors"]
    assert same(read_checkpoint(tmp_path / saved.name), saved)


def test_other_programs_can_read_the_vectors(tmp_path):
    saved = checkpoint()
    Checkpoints(tmp_path, keep=2).save(saved)
    params, state = (load_file(tmp_path / saved.name / f"{name}.safetensors") for name in ("params", "optimizer"))
    assert list(params) == ["params"] and params["params"].tobytes() == saved.params.tobytes()
    assert {name: slot.tobytes() for name, slot in state.items()} == {n: s.tobytes() for n, s in saved.state.items()}


def test_equal_states_are_equal_files(tmp_path):
    texts = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        Checkpoints(tmp_path / place, keep=2).save(checkpoint())
        texts.append({path.name: path.read_bytes() for path in (tmp_path / place / checkpoint().name).iterdir()})
    assert texts[0] == texts[1] and len(texts[0]) == 4


def test_a_folder_without_checkpoints_has_none(tmp_path):
    assert Checkpoints(tmp_path, keep=2).load("settings data") == (None, [])
    assert Checkpoints(tmp_path / "absent", keep=2).load("settings data") == (None, [])


@pytest.mark.parametrize("keep", [2, 3])
def test_the_newest_are_kept_by_their_step(tmp_path, keep):
    checkpoints = Checkpoints(tmp_path, keep)
    for step in (9, 10, 11, 100):
        checkpoints.save(checkpoint(step))
    assert names(tmp_path) == [checkpoint(step).name for step in (9, 10, 11, 100)][-keep:]
    assert checkpoints.load("settings data")[0].progress.step == 100


def test_an_epoch_that_ends_makes_another_checkpoint_of_the_same_step(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for epoch in (2, 3):
        checkpoints.save(checkpoint(12, epoch=epoch))
    assert len(names(tmp_path)) == 2 and checkpoints.load("settings data")[0].progress.epoch == 3


def test_a_checkpoint_that_is_damaged_does_not_count_as_one_that_is_kept(tmp_path):
    first = Checkpoints(tmp_path, keep=2)
    for step in (50, 100):
        first.save(checkpoint(step))
    (tmp_path / checkpoint(100).name / "params.safetensors").write_bytes(b"")
    again = Checkpoints(tmp_path, keep=2)
    assert again.load("settings data")[0].progress.step == 50
    again.save(checkpoint(75))
    assert [age[:15] for age in names(tmp_path)] == ["step-0000000050", "step-0000000075", "step-0000000100"]
    again.save(checkpoint(100))  # takes the place of the damaged one
    assert same(Checkpoints(tmp_path, keep=2).load("settings data")[0], checkpoint(100))
    assert [age[:15] for age in names(tmp_path)] == ["step-0000000075", "step-0000000100"]


@pytest.mark.parametrize(
    ("made_with", "what"),
    [
        ("other data", "another configuration"),
        ("settings other", "other data"),
        ("a b", "another configuration and other data"),
    ],
)
def test_what_belongs_to_another_run_is_refused_and_says_why(tmp_path, made_with, what):
    Checkpoints(tmp_path, keep=2).save(checkpoint(config=made_with))
    with pytest.raises(
        CheckpointError, match=rf"{tmp_path}/{checkpoint().name}: made with {what}; bring that back, or start a new run"
    ):
        Checkpoints(tmp_path, keep=2).load("settings data")


def test_a_checkpoint_of_the_first_format_is_never_passed_over(tmp_path):
    (tmp_path / "step-0000000009.safetensors").write_bytes(b"anything")
    with pytest.raises(CheckpointError, match=r"step-0000000009\.safetensors: written by an earlier version"):
        Checkpoints(tmp_path, keep=2).load("settings data")


def test_only_what_dead_processes_have_left_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(checkpoint())
    left = tmp_path / f".{checkpoint(6).name}.0123abcd"
    left.mkdir()
    (left / "params.safetensors").write_bytes(b"half of it")
    others = [".notes.0123abcd", f".{checkpoint(6).name}", f"{checkpoint(6).name}.0123abcd", "notes.txt"]
    for other in others:
        (tmp_path / other).mkdir()
    (tmp_path / f".{checkpoint(7).name}.0123abcd").symlink_to(tmp_path / "notes.txt")
    before = names(tmp_path)
    checkpoints.remove_leftovers()
    assert set(before) - set(names(tmp_path)) == {left.name}


@pytest.mark.parametrize("where", ["params", "state", "best"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_found_wherever_it_is(where, value):
    saved = checkpoint()
    assert saved.not_finite() is None
    {"params": saved.params, "state": saved.state["v"], "best": saved.best}[where][-1] = value
    assert saved.not_finite() == {"params": "params", "state": "v", "best": "best"}[where]


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_state_that_is_not_finite_is_never_saved_and_ends_training_on_all_ranks(lab, ranks, monkeypatch):
    config = lab.config_of(lab.network, optimizer=Adam(0.02), training=lab.short)
    monkeypatch.setattr(Checkpoint, "not_finite", lambda self: "v")
    for rank in lab.train(ranks, config, lab.training, wishes={3: CHECKPOINT}):
        assert isinstance(rank.error, NonFiniteError) and rank.error.exit_code == 5
        assert str(rank.error).startswith("not finite after step 3: v; nothing of this state is saved")
        assert rank.seen.checkpoints == []


def test_a_checkpoint_of_another_network_is_refused(lab):
    config = lab.config_of(lab.network, optimizer=SGD(0.02), training=lab.short)
    with pytest.raises(CheckpointError, match="made by another network or optimizer"):
        lab.train(1, config, lab.training, checkpoint=checkpoint())


@pytest.mark.parametrize(
    ("every_seconds", "cost_s", "seconds"),
    [("auto", 0, 30), ("auto", 0.3, 30), ("auto", 1.5, 150), ("auto", 36, 3600), ("auto", 1e6, 3600), (2.5, 9, 2.5)],
)
def test_by_default_checkpoints_cost_at_most_one_per_cent(every_seconds, cost_s, seconds):
    assert interval_s(every_seconds, cost_s) == pytest.approx(seconds)


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
