"""The model of `distprop plan` against a simulation of every message, and this against what ranks really send."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from distprop.comm.machines import Machines
from distprop.comm.slices import cut_into_buckets
from distprop.comm.stand_in import StandIn
from distprop.comm.volumes import volumes
from distprop.launch.scaling import Link, agreement_s, predict

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import simulation

LENGTH, LAYERS = 300_000, (0, 100_000, 220_000)
BUCKETS = cut_into_buckets(LENGTH, simulation.ITEM, LAYERS)
PLACES = ([1, 1], [1, 1, 1], [2, 1], [2, 3, 1], [4, 4, 4], [3, 3, 3, 3, 3], [8] * 8)
ON = pytest.mark.parametrize("machines", PLACES, ids=lambda machines: "+".join(map(str, machines)))


class Recorder(StandIn):
    """Notes what it would send."""

    def __init__(self, rank, machines):
        super().__init__(rank, machines)
        self.sends = []

    def traffic(self, sends, receives):
        self.sends += [(self.rank, message.peer, message.array.nbytes) for message in sends]
        self.sends += [(message.peer, self.rank, -message.array.nbytes) for message in receives]
        return super().traffic(sends, receives)


def shards_of(machines, more):
    return sum(machines) + more


@ON
@pytest.mark.parametrize("more", [0, 5])
def test_the_simulation_sends_what_ranks_send_and_get(machines, more):
    shards = shards_of(machines, more)
    real = []
    for rank in range(sum(machines)):
        comm = Recorder(rank, machines)
        Machines(comm, BUCKETS, shards, "float32", 1)
        real += comm.sends
    schedule = simulation.Schedule(machines, BUCKETS, shards)
    sends = [
        (one.source, one.target, one.size)
        for bucket in range(len(BUCKETS))
        for rank in range(sum(machines))
        for one in [*schedule.gradients(bucket, rank), *schedule.parameters(bucket, rank)]
    ]
    assert Counter(one for one in real if one[2] > 0) == Counter(sends)
    assert Counter((source, target, -size) for source, target, size in real if size < 0) == Counter(sends)


@ON
@pytest.mark.parametrize("more", [0, 5])
def test_the_volumes_are_those_of_the_messages(machines, more):
    schedule = simulation.Schedule(machines, BUCKETS, shards_of(machines, more))
    known = volumes(machines, schedule.cuts, schedule.sums, simulation.ITEM)
    kinds = [schedule.gradients, schedule.parameters]
    for (kind, bucket), volume in zip([(k, b) for k in kinds for b in range(len(BUCKETS))], known, strict=True):
        sends = [one for rank in range(schedule.size) for one in kind(bucket, rank)]
        leaves, comes = Counter(), Counter()
        for one in sends:
            leaves[schedule.host[one.source]] += one.size
            comes[schedule.host[one.target]] += one.size
        assert volume.bytes == max(*leaves.values(), *comes.values())
        assert volume.messages >= max(Counter(one.source for one in sends).values()) - max(schedule.sums)


@ON
@pytest.mark.parametrize(("latency_s", "each_s"), [(30e-6, 3e-6), (5e-6, 1e-6), (500e-6, 3e-6)])
def test_the_model_is_near_the_simulation(machines, latency_s, each_s):
    link, shards = Link(latency_s, each_s, 1e8), shards_of(machines, 0)
    simulated = simulation.simulate(machines, BUCKETS, shards, link)
    model_s = simulation.model_s(machines, BUCKETS, shards, link)
    if len(set(machines)) == 1:
        assert model_s == pytest.approx(simulated.seconds, rel=0.2)
    else:  # the model knows one link, that of the host that has most to do
        assert 0.8 < model_s / simulated.seconds < 1.6


@pytest.mark.long
def test_the_model_is_near_the_simulation_of_4096_ranks():
    machines = [64] * 64
    found = simulation.simulate(machines, BUCKETS, 4096, simulation.LINK)
    whole = 2 * 63 / 64 * simulation.ITEM * LENGTH
    assert max(found.sent) == pytest.approx(whole, rel=0.2)  # slices are whole blocks
    assert simulation.model_s(machines, BUCKETS, 4096, simulation.LINK) == pytest.approx(found.seconds, rel=0.2)


def trial(**others):
    known = {"step_s": 0.01, "pieces": (), "marks": (), "volumes": (), "agreed_bytes": 0,
             "private_bytes": 3, "shared_bytes": 40}  # fmt: skip
    return known | others


def test_one_host_computes_and_its_barriers_take_what_they_take():
    found = predict([2], [trial(), trial(step_s=0.02)], Link(1, 1, 1), 0.001, 100)
    assert found.step_s == found.compute_s == pytest.approx(0.021)
    assert found.memory == 2 * (100 + 3) + 40 and found.ranks == 2


@pytest.mark.parametrize(("travels_s", "step_s"), [(0.004, 0.01), (0.011, 0.015)])
def test_messages_travel_while_the_rank_computes(travels_s, step_s):
    """It computes for 4 ms, sends, computes for 6 ms and waits for what was sent."""
    link = Link(0.0, 0.0, 1e6)
    parts = {"pieces": (0.004, 0.006), "marks": ((0, True), (0, False)), "volumes": ((1, round(travels_s * 1e6)),)}
    found = predict([1, 1], [trial(**parts)], link, 0.0, 0)
    waits_s = 0.0005 if travels_s > 0.006 else 0.0  # half of the time between two looks
    assert found.step_s == pytest.approx(step_s + waits_s)
    assert found.waiting_s == pytest.approx(step_s + waits_s - 0.01)


def test_what_messages_add_is_corrected():
    parts = {"pieces": (0.01, 0.0), "marks": ((0, True), (0, False)), "volumes": ((1, 20_000),)}
    assert predict([1, 1], [trial(**parts)], Link(0, 0, 1e6), 0.0, 0, 0.5).step_s == pytest.approx(0.01 + 0.5 * 0.0205)


def test_what_leaves_a_host_shares_its_link():
    parts = {
        "pieces": (0.0, 0.0, 0.0, 0.0),
        "marks": ((0, True), (1, True), (0, False), (1, False)),
        "volumes": ((1, 2000), (1, 3000)),
    }
    assert predict([1, 1], [trial(step_s=0.0, **parts)], Link(0, 0, 1e7), 0.0, 0).step_s == pytest.approx(0.0005)


def test_an_agreement_takes_rounds_that_double():
    assert agreement_s(4, 2, 0, Link(1.0, 0.0, 1.0)) == 3
    assert agreement_s(2, 1, 5, Link(0.0, 0.0, 10.0)) == 0.5
