"""What a step takes on any number of ranks and hosts: computing as it was tried, and messages by a model.

A message takes alpha + bytes / beta. Hosts are alike, and all at the same place of the step; what leaves a host shares
its link, message behind message, and what comes to it as well, at the same time. The calls of a step are gone through
in their order: messages that were started travel while the rank computes, and it waits where the program waits.
The simulation in benchmarks/simulation.py sends every message of every rank instead.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

AGREE = -1  # as in comm/stand_in.py
# As comm/mpi.py waits: all the time at first, then looking once a millisecond.
SPIN_S, LOOK_S = 0.0005, 0.001
STEPS = 8  # gone through, of which the last half counts


@dataclass(frozen=True)
class Link:
    """Of a host. latency_s: of a small message, of which each further one of many adds each_s."""

    latency_s: float
    each_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class Prediction:
    """For so many ranks. memory: of a host, in bytes."""

    machines: tuple[int, ...]
    step_s: float
    compute_s: float
    memory: float

    @property
    def ranks(self) -> int:
        return sum(self.machines)

    @property
    def waiting_s(self) -> float:
        """What messages add to a step."""
        return max(self.step_s - self.compute_s, 0.0)


def predict(
    machines: Sequence[int],
    trials: Sequence[dict[str, Any]],
    link: Link,
    sync_s: float,
    process_bytes: float,
    correction: float = 1.0,
) -> Prediction:
    """trials: of ranks that stood in, see training/trial.py. sync_s: what a step's barriers on a host take.

    correction: by which the time is multiplied that messages add.
    """
    slowest = max(trials, key=lambda one: one["step_s"])
    here = max(machines)
    compute_s = slowest["step_s"] + sync_s
    walked_s = _walk(slowest, len(machines), here, link) + sync_s if len(machines) > 1 else compute_s
    step_s = compute_s + correction * max(walked_s - compute_s, 0.0)
    memory = here * (process_bytes + slowest["private_bytes"]) + slowest["shared_bytes"]
    return Prediction(tuple(machines), step_s, compute_s, memory)


def _walk(trial: dict[str, Any], hosts: int, ranks: int, link: Link) -> float:
    """The seconds of a step once they are all alike. ranks: of each host."""
    now, free, ends = 0.0, 0.0, []
    arrivals: dict[int, float] = {}
    agree_s = agreement_s(hosts, ranks, trial["agreed_bytes"], link)
    for _ in range(STEPS):
        for piece, (traffic, starts) in zip(trial["pieces"], trial["marks"], strict=True):
            now += piece
            if traffic == AGREE:
                now = _waited(now, max(now, free) + agree_s)
            elif starts:
                messages, size = trial["volumes"][traffic]
                now += messages * link.each_s
                free = max(now, free) + size / link.bytes_per_s
                arrivals[traffic] = free + link.latency_s
            elif traffic in arrivals:
                now = _waited(now, arrivals.pop(traffic))
        ends.append(now)
    half = STEPS // 2
    return (ends[-1] - ends[half - 1]) / (STEPS - half)


def agreement_s(hosts: int, ranks: int, size: int, link: Link) -> float:
    """Of an allgather of so many bytes a rank, in rounds that double what each knows."""
    everyone = hosts * ranks
    return math.ceil(math.log2(everyone)) * link.latency_s + ranks * (everyone - ranks) * size / link.bytes_per_s


def _waited(now: float, arrival: float) -> float:
    late = arrival - now
    return now if late <= 0 else arrival if late < SPIN_S else arrival + LOOK_S / 2
