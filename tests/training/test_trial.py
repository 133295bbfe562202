"""Steps that are tried: they change nothing, and a rank that stands in for one of many meets all that it would meet."""

from dataclasses import replace

import numpy as np
import pytest

from distprop.comm import slices
from distprop.comm.stand_in import AGREE, StandIn
from distprop.comm.threads import run_ranks
from distprop.config.optimizers import Adam, Momentum
from distprop.training import loop
from distprop.training import trial as trials
from distprop.training.run import Material
from distprop.training.trial import trial


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(trials, "ENOUGH_S", 0.01)
    monkeypatch.setattr(trials, "MOST_S", 0.05)
    monkeypatch.setattr(slices, "BUCKET_BYTES", 1)


def material_of(lab):
    data, encoding = lab.training
    return Material(data, None, encoding, "")


@pytest.mark.parametrize("machines", [[1], [2], [1, 1], [2, 1]], ids=lambda machines: "+".join(map(str, machines)))
@pytest.mark.parametrize("optimizer", [Adam(0.01, weight_decay=0.1), Momentum(0.05, clip_norm=0.5, l2=0.1)])
def test_steps_that_are_tried_change_no_parameter(lab, machines, optimizer):
    config = lab.config_of(lab.network, optimizer=optimizer, training=lab.short)
    data, encoding = lab.training

    def steps(comm):
        training = loop.Training(config, comm, data, None, encoding, loop.Silent(), "")
        comm.barrier()
        before = training.model.params.copy()
        done = [training.try_steps(first, 2) for first in range(3)]
        comm.barrier()
        assert np.array_equal(before, training.model.params) and np.abs(before).max() > 0
        return done

    assert run_ranks(sum(machines), steps, machines=machines) == [[2, 2, 1]] * sum(machines)  # there are 3 whole ones


@pytest.mark.parametrize("machines", [[1], [2], [1, 2]], ids=lambda machines: "+".join(map(str, machines)))
def test_ranks_that_try_end_together(lab, machines):
    config = lab.config_of(lab.network, training=lab.short)
    found = run_ranks(sum(machines), lambda comm: trial(config, material_of(lab), comm), machines=machines)
    assert all(one.step_s > 0 and not one.marks for one in found)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_one_who_stands_in_starts_and_waits_for_all_messages_of_a_step(lab, clip_norm):
    config = lab.config_of(lab.network, optimizer=Momentum(0.1, clip_norm=clip_norm), training=lab.short)
    found = trial(config, material_of(lab), StandIn(3, (2, 2)))
    buckets = len(found.volumes) // 2
    assert buckets > 1
    for traffic in range(2 * buckets):
        assert found.marks.count((traffic, True)) == found.marks.count((traffic, False)) == 1
    gradients = [found.marks.index((bucket, starts)) for bucket in range(buckets) for starts in (True, False)]
    assert all(start < wait for start, wait in zip(gradients[::2], gradients[1::2], strict=True))
    assert found.marks.count((AGREE, False)) == 1 and found.agreed_bytes > 0
    assert len(found.pieces) == len(found.marks) and min(found.pieces) > 0
    assert sum(found.pieces) == pytest.approx(found.step_s, rel=1.0)
    assert found.private_bytes > 0 and found.shared_bytes > 4 * len(lab.training[0])


def test_one_who_stands_in_on_one_machine_meets_no_messages(lab):
    config = lab.config_of(lab.network, training=replace(lab.short, shards=8))
    found = trial(config, material_of(lab), StandIn(7, (8,)))
    assert found.step_s > 0 and not found.marks and not found.volumes
