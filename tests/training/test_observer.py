"""When checkpoints are due: by a clock that the test turns itself."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from distprop.comm.serial import Serial
from distprop.comm.threads import run_ranks
from distprop.config.run import Checkpoint as Rules
from distprop.run_directory import RunDirectory
from distprop.training import observer as module
from distprop.training.checkpoint import Checkpoint, Checkpoints, Progress
from distprop.training.loop import CHECKPOINT
from distprop.training.observer import RunObserver


@pytest.fixture
def clock(monkeypatch):
    """Its seconds are what the test sets; writing a checkpoint takes `cost` of them."""
    made = SimpleNamespace(now=1000.0, cost=0.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))

    def save(self, checkpoint):
        made.now += made.cost

    monkeypatch.setattr(Checkpoints, "save", save)
    return made


def observer(lab, tmp_path, comm=None, **rules):
    config = replace(lab.config_of(lab.network, training=lab.short), checkpoint=Rules(**rules))
    path = tmp_path / "run"
    run = RunDirectory(path) if path.exists() else RunDirectory.create(path)
    return RunObserver(run, config, comm or Serial(), None)


def done(observer, step):
    """A step has been done, as the loop tells it."""
    result = SimpleNamespace(samples=1, loss=1.0, weight=1.0, seconds=observer._seconds, digest=None)
    observer.steps_done(Progress(step=step), result, 0.1)


def save(observer, step):
    done(observer, step)
    return observer.save(Checkpoint(Progress(step=step), None, {}, None, ""))


def seconds_until_due(observer, clock):
    """How long the next one is off."""
    begin = clock.now
    for tenths in range(100_000):
        clock.now = begin + tenths / 10
        if observer.wish(Progress(step=3), 1):
            return tenths / 10
    return None


@pytest.mark.parametrize(("cost", "interval"), [(0.02, 30), (0.3, 30), (0.5, 50), (7, 700), (80, 3600)])
def test_the_dearer_a_checkpoint_the_longer_until_the_next(lab, tmp_path, clock, cost, interval):
    watching = observer(lab, tmp_path)
    assert seconds_until_due(watching, clock) == 30
    clock.cost = cost
    save(watching, 7)
    assert seconds_until_due(watching, clock) == pytest.approx(interval, abs=0.11)


@pytest.mark.parametrize("seconds", [5, 61.5])
def test_a_given_interval_is_obeyed_whatever_it_costs(lab, tmp_path, clock, seconds):
    watching = observer(lab, tmp_path, every_seconds=seconds)
    clock.cost = 50
    save(watching, 7)
    assert seconds_until_due(watching, clock) == pytest.approx(seconds, abs=0.11)


def test_with_an_interval_of_0_no_time_makes_one_due(lab, tmp_path, clock):
    assert seconds_until_due(observer(lab, tmp_path, every_seconds=0.0), clock) is None


def test_rank_0_alone_decides_by_its_clock(lab, tmp_path, clock):
    (tmp_path / "run").mkdir()

    def work(comm):
        watching = observer(lab, tmp_path, comm)
        comm.barrier()
        if comm.rank == 0:
            clock.now += 31
        comm.barrier()
        return watching.wish(Progress(step=3), 1)

    assert run_ranks(3, work) == [CHECKPOINT, 0, 0]


def test_a_state_that_is_kept_already_is_not_written_again(lab, tmp_path, clock):
    watching = observer(lab, tmp_path)
    save(watching, 7)
    clock.cost, before = 5, clock.now
    assert save(watching, 7) is None and clock.now == before
    watching.resumed(Checkpoint(Progress(step=9), None, {}, None, ""))
    save(watching, 9)
    assert clock.now == before
