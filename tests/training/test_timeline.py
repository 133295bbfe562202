"""The timeline: every rank's calls of the first steps, in a form that browsers show."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from distprop.comm.threads import run_ranks
from distprop.training.loop import Silent, Training
from distprop.training.step import PHASES
from distprop.training.timeline import gather_texts


@pytest.mark.parametrize("machines", [[1], [3], [1, 1], [2, 1]])
def test_a_timeline_has_every_call_of_every_rank_in_order(lab, machines):
    config = lab.config_of(lab.network, training=replace(lab.short, epochs=2, timeline=6))
    traces = []

    class Keeper(Silent):
        def timeline(self, trace):
            traces.append(trace)

    def work(comm):
        training = Training(config, comm, lab.training[0], None, lab.training[1], Keeper(), "")
        training.run()

    ranks = sum(machines)
    run_ranks(ranks, work, machines)
    assert len(traces) == ranks and len(set(traces)) == 1
    events = json.loads(traces[0])["traceEvents"]
    assert [event["args"]["name"] for event in events if event["ph"] == "M"] == [
        f"rank {rank}" for rank in range(ranks)
    ]
    for rank in range(ranks):
        calls = [event for event in events if event["ph"] == "X" and event["pid"] == rank]
        assert sum(call["name"].startswith("input = gather_rows") for call in calls) == 6
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(calls))
        assert {call["cat"] for call in calls} <= set(PHASES)


def test_a_timeline_changes_no_bits_and_ends_with_the_training(lab):
    config = lab.config_of(lab.network, training=lab.short)
    recorded = replace(config, training=replace(config.training, timeline=10**6))
    assert lab.train(2, config, lab.training)[0].digest == lab.train(2, recorded, lab.training)[0].digest


def test_texts_of_all_ranks_are_known_to_all(lab):
    texts = ["", "déjà vu", "x" * 100]
    assert run_ranks(3, lambda comm: gather_texts(comm, texts[comm.rank])) == [texts] * 3
