"""The exchange between many hosts, message by message, and what the model of `distprop plan` makes of it.

Every message of every rank is sent, as comm/routes.py has them: the sums of gradients to the owners of slices, and the
updated parameters back, bucket by bucket. What leaves a host shares its link, and what comes to it as well. Nothing is
computed, so the exchange can't hide. Run: python benchmarks/simulation.py [--quick] [--json FILE]
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from report import Figure, Report, figure, finish, parser_of

from distprop.comm.routes import partners, ranges_of, served
from distprop.comm.shards import canonical_nodes, run_of
from distprop.comm.slices import cut_into_buckets, cut_into_slices
from distprop.comm.volumes import volumes
from distprop.launch.scaling import Link, predict

LINK = Link(latency_s=30e-6, each_s=3e-6, bytes_per_s=1.15e9)
LAYERS = (0, 784 * 1024, 784 * 1024 + 1024 * 1024)  # of 784-1024-1024-10
LENGTH = 784 * 1024 + 1024 * 1024 + 1024 * 10 + 2058
ITEM = 4  # bytes
HOSTS = ((2, 1), (3, 1), (8, 4), (16, 16), (64, 16), (64, 64))  # and ranks of each


class Exchanged(NamedTuple):
    """sent: bytes by host; messages: by rank."""

    seconds: float
    sent: list[int]
    messages: list[int]


class Send(NamedTuple):
    """A message of a bucket: of gradients, or of parameters."""

    bucket: int
    is_gradient: bool
    source: int
    target: int
    size: int


class Schedule:
    """Who sends what, for each bucket: gradients, and then parameters."""

    def __init__(self, machines: Sequence[int], buckets: Sequence[slice], shards: int) -> None:
        self.machines, self.size = machines, sum(machines)
        self.ranges = ranges_of(machines)
        self.host = [host for host, ranks in enumerate(self.ranges) for _ in ranks]
        self.cuts = [cut_into_slices(bucket, self.size) for bucket in buckets]
        self.bytes = [[ITEM * (last - first) for first, last in itertools.pairwise(of_one)] for of_one in self.cuts]
        # A machine sends so many sums for each slice: one, where its ranks' shards are a whole subtree.
        self.sums = [len(canonical_nodes(run_of(ranks, self.size, shards), (0, shards))) for ranks in self.ranges]
        self.served = [served(rank, machines) for rank in range(self.size)]
        self.partners = [[other for _, other in partners(rank, machines)] for rank in range(self.size)]

    def gradients(self, bucket: int, rank: int) -> list[Send]:
        """The sums of this rank's machine for the slices of those that it serves."""
        sums, sizes = self.sums[self.host[rank]], self.bytes[bucket]
        return [Send(bucket, True, rank, to, sizes[to]) for to in self.served[rank] for _ in range(sums) if sizes[to]]

    def parameters(self, bucket: int, rank: int) -> list[Send]:
        """Its slice, to its partner on each other machine."""
        size = self.bytes[bucket][rank]
        return [Send(bucket, False, rank, to, size) for to in self.partners[rank] if size]


class Network:
    """Messages under way. Each host's link takes one at a time, out and in."""

    def __init__(self, schedule: Schedule, link: Link) -> None:
        self._host, self._link = schedule.host, link
        self._ready = [0.0] * schedule.size  # when a rank can send its next message
        self._leaves, self._comes = ([0.0] * len(schedule.machines) for _ in range(2))  # when a link is free again
        self._events: list[tuple[float, int, bool, Send]] = []  # when, which, whether it comes or leaves
        self._number = itertools.count()
        self.sent, self.messages = [0] * len(schedule.machines), [0] * schedule.size

    def send(self, now: float, sends: list[Send]) -> None:
        for one in sends:
            self._ready[one.source] = max(self._ready[one.source], now) + self._link.each_s
            heapq.heappush(self._events, (self._ready[one.source], next(self._number), False, one))
            self.sent[self._host[one.source]] += one.size
            self.messages[one.source] += 1

    def arrivals(self) -> Iterator[tuple[float, Send]]:
        """Messages and when they have come, until none is under way."""
        while self._events:
            now, number, comes, one = heapq.heappop(self._events)
            seconds = one.size / self._link.bytes_per_s
            links, host = (self._comes, self._host[one.target]) if comes else (self._leaves, self._host[one.source])
            begin = max(now, links[host])
            links[host] = begin + seconds
            if comes:
                yield links[host], one
            else:
                heapq.heappush(self._events, (begin + self._link.latency_s, number, True, one))


def simulate(machines: Sequence[int], buckets: Sequence[slice], shards: int, link: Link) -> Exchanged:
    """All ranks begin at once. The owner of a slice sends its parameters when all gradients of it have come."""
    schedule = Schedule(machines, buckets, shards)
    network = Network(schedule, link)
    missing = [[0] * schedule.size for _ in buckets]
    for bucket, of_bucket in enumerate(missing):
        for rank in range(schedule.size):
            gradients = schedule.gradients(bucket, rank)
            for one in gradients:
                of_bucket[one.target] += 1
            network.send(0.0, gradients)
    end = 0.0
    for now, one in network.arrivals():
        end = max(end, now)
        if one.is_gradient:
            missing[one.bucket][one.target] -= 1
            if missing[one.bucket][one.target] == 0:
                network.send(now, schedule.parameters(one.bucket, one.target))
    return Exchanged(end, network.sent, network.messages)


def model_s(machines: Sequence[int], buckets: Sequence[slice], shards: int, link: Link) -> float:
    """The same by the model, of an exchange by which nothing is computed."""
    schedule, count = Schedule(machines, buckets, shards), len(buckets)
    marks = [(bucket, True) for bucket in range(count)]
    marks += [mark for bucket in range(count) for mark in ((bucket, False), (count + bucket, True))]
    marks += [(count + bucket, False) for bucket in range(count)]
    trial = {
        "step_s": 0.0, "pieces": [0.0] * len(marks), "marks": marks, "agreed_bytes": 0,
        "volumes": volumes(machines, schedule.cuts, schedule.sums, ITEM),
        "private_bytes": 0, "shared_bytes": 0,
    }  # fmt: skip
    return predict(machines, [trial], link, 0.0, 0.0).step_s


def figures(hosts: int, ranks: int) -> list[Figure]:
    machines, buckets = [ranks] * hosts, cut_into_buckets(LENGTH, ITEM, LAYERS)
    found = simulate(machines, buckets, hosts * ranks, LINK)
    model, volume = model_s(machines, buckets, hosts * ranks, LINK), 2 * (hosts - 1) / hosts * ITEM * LENGTH
    subject = f"{hosts} × {ranks}"
    return [
        figure(subject, "simulated, ms", [1e3 * found.seconds]),
        figure(subject, "model, ms", [1e3 * model]),
        figure(subject, "model / simulated", [model / found.seconds]),
        figure(subject, "bytes a host / 2(H-1)/H of the vector", [max(found.sent) / volume]),
        figure(subject, "messages a rank", [max(found.messages)]),
    ]


def main() -> None:
    options = parser_of(__doc__, "up to 256 ranks").parse_args()
    sizes = [size for size in HOSTS if not options.quick or size[0] * size[1] <= 256]
    about = (
        f"An exchange of {LENGTH:,} float32 between hosts × ranks of each, links of {LINK.bytes_per_s / 1e6:,.0f} MB/s "
        f"each way, {1e6 * LINK.latency_s:.0f} µs a message and {1e6 * LINK.each_s:.0f} µs for each further one."
    )
    found = [each for size in sizes for each in figures(*size)]
    finish(Report("The exchange between many hosts, simulated", about, found), options)


if __name__ == "__main__":
    main()
