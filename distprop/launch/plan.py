"""`distprop plan`: tries steps for a moment, and predicts what they would take on other numbers of ranks and hosts."""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from distprop.errors import UsageError
from distprop.launch.cores import available_cores
from distprop.launch.doctor import run_ranks
from distprop.launch.hosts import Host
from distprop.launch.mirror import Needs, supply
from distprop.launch.mpi import find_mpi
from distprop.launch.networks import check_networks
from distprop.launch.preflight import check_hosts
from distprop.launch.run import Stop
from distprop.launch.scaling import Link, Prediction, predict
from distprop.launch.start import data_files, prepare_data
from distprop.report import counted, size, tell
from distprop.run_directory import RunDirectory

if TYPE_CHECKING:
    from distprop.config.run import Config

USUAL = Link(latency_s=30e-6, each_s=3e-6, bytes_per_s=1.15e9)  # of a 10 Gbit/s network, if nothing else is known
WORTH = 0.5  # the efficiency down to which more ranks are recommended
LIMIT_S = 600.0
MOST_CORRECTION = 4.0  # of the model, by what was measured with fewer hosts
HEAD = ("ranks", "hosts", "step", "", "waiting", "samples/s", "speedup", "efficiency", "memory/host")

Layout: TypeAlias = tuple[tuple[int, ...], int]  # the ranks of each host, and training.shards


@dataclass(frozen=True)
class Question:
    """first, last: numbers of ranks. ranks_per_host, latency_s, bytes_per_s: None where they are to be found out."""

    first: int
    last: int
    hosts: tuple[Host, ...] = ()
    interfaces: tuple[str, ...] = ()
    ranks_per_host: int | None = None
    latency_s: float | None = None
    bytes_per_s: float | None = None


@dataclass(frozen=True)
class Row:
    """A number of ranks. shards: what training.shards must be for it; measured_s: of a step, where that could be."""

    prediction: Prediction
    shards: int
    measured_s: float | None
    alone_s: float  # of a step on one rank

    @property
    def speedup(self) -> float:
        return self.alone_s / self.step_s

    @property
    def efficiency(self) -> float:
        return self.speedup / self.prediction.ranks

    @property
    def step_s(self) -> float:
        return self.prediction.step_s if self.measured_s is None else self.measured_s


def plan(config: Path, overrides: Sequence[str], question: Question, *, as_json: bool = False) -> int:
    """Print what a step takes on so many ranks; return the exit code."""
    from distprop.config import load_config, located, resolve, write_config

    resolved = resolve(load_config(config, overrides), config.parent)
    if resolved.training.exchange != "ordered":
        raise UsageError('distprop plan knows training.exchange = "ordered" only; leave the other one out')
    with located(config, overrides):
        prepared = prepare_data(resolved)
    if question.interfaces and not question.hosts:
        raise UsageError("distprop plan: --interface is about messages between hosts; give --hosts too")
    if question.interfaces:
        check_networks(find_mpi(), question.interfaces)
    if question.first > resolved.training.batch_size:
        samples = counted(resolved.training.batch_size, "sample")
        raise UsageError(f"--ranks: a minibatch has {samples} (training.batch_size), for no more ranks than these")
    slots = [host.slots for host in question.hosts] or [question.ranks_per_host or available_cores().budget]
    here = slots if question.hosts else [min(slots[0], available_cores().budget)]
    layouts = list(_layouts(question, slots, resolved))
    for warning in check_hosts(question.hosts, question.interfaces):
        tell(f"warning: {warning}", sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder))
        write_config(resolved, run.config)
        needs = Needs(run, "", 0, prepared.folder, data_files(resolved))
        copies = supply(needs, question.hosts, partial(tell, stream=sys.stderr), LIMIT_S, Stop())
        try:
            found = _tried(needs, layouts, question, copies.after_others(question.hosts), here)
        finally:
            copies.fetch()
    link, measured = _link(question, found), bool(_between(found))
    rows = list(_rows(layouts, found, link))
    if as_json:
        print(json.dumps({"link": asdict(link), "link_measured": measured, "rows": [_object(row) for row in rows]}))
    else:
        print("\n".join(_lines(rows, resolved, link, measured)))
    return 0


def _layouts(question: Question, slots: Sequence[int], config: "Config") -> Iterator[Layout]:
    """One rank, powers of two, what fills a host or all that there are, and the ends of the range."""
    powers = {1 << power for power in range(question.last.bit_length())}
    most = min(question.last, config.training.batch_size)
    for ranks in sorted({1, *powers, question.first, most, slots[0], sum(slots)}):
        if ranks == 1 or question.first <= ranks <= most:
            yield _machines(ranks, slots), max(ranks, config.training.shards or 1)


def _machines(ranks: int, slots: Sequence[int]) -> tuple[int, ...]:
    """As many as each host takes; further hosts are like the last one."""
    machines: list[int] = []
    while ranks > 0:
        machines.append(min(ranks, slots[min(len(machines), len(slots) - 1)]))
        ranks -= machines[-1]
    return tuple(machines)


def _tried(
    needs: Needs, layouts: Sequence[Layout], question: Question, hosts: Sequence[Host], here: Sequence[int]
) -> dict[str, Any]:
    """What the ranks found that can be started here."""
    tried = [(machines, shards, False) for machines, shards in layouts]
    mostly = 1 if question.latency_s or question.bytes_per_s else len(here)  # hosts, whose link is the one in question
    tried += [(machines, shards, True) for machines, shards in layouts if _fits(machines, here[:mostly])]
    order, answer = needs.root.path / "order.json", needs.root.path / "answer.json"
    order.write_text(json.dumps({"config": needs.root.config.read_text(), "data": needs.data.name, "layouts": tried}))
    program = [sys.executable, "-m", "distprop.trials", str(order), str(answer)]
    problem = run_ranks(program, sum(here), hosts, question.interfaces, LIMIT_S)
    if problem:
        raise UsageError(f"distprop plan: {problem.fact}; {problem.cure}")
    found: dict[str, Any] = json.loads(answer.read_text())
    ways = [(tuple(machines), real) for machines, _, real in tried]
    return found | {"trials": dict(zip(ways, found["trials"], strict=True))}


def _fits(machines: Sequence[int], here: Sequence[int]) -> bool:
    return len(machines) <= len(here) and all(wanted <= there for wanted, there in zip(machines, here, strict=False))


def _between(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The speeds that were measured between hosts."""
    hosts = [host for host, count in enumerate(found["machines"]) for _ in range(count)]
    return [one for one in found["speeds"] if hosts[one["one"]] != hosts[one["other"]]]


def _link(question: Question, found: Mapping[str, Any]) -> Link:
    """The slowest link that was measured, or a usual one, with what was given instead."""
    link, between = USUAL, _between(found)
    if between:
        latency_s, each_s = (max(one[name] for one in between) for name in ("latency_s", "each_s"))
        link = Link(latency_s, each_s, min(one["bytes_per_s"] for one in between))
    latency_s, bytes_per_s = question.latency_s or link.latency_s, question.bytes_per_s or link.bytes_per_s
    return replace(link, latency_s=latency_s, bytes_per_s=bytes_per_s)


def _rows(layouts: Sequence[Layout], found: Mapping[str, Any], link: Link) -> Iterator[Row]:
    trials, alone_s, correction = found["trials"], None, 1.0
    syncs = {1: 0.0}  # by the ranks of a host
    for machines, shards in layouts:
        stood_in, real = trials[machines, False], trials.get((machines, True))
        measured_s = max(one["step_s"] for one in real) if real else None
        if measured_s and len(machines) == 1:
            syncs[machines[0]] = max(measured_s - max(one["step_s"] for one in stood_in), 0.0)
        sync_s = syncs[max(count for count in syncs if count <= max(machines))]
        predicted = predict(machines, stood_in, link, sync_s, found["process_bytes"], correction)
        if measured_s and predicted.waiting_s > 0:
            missed = (measured_s - predicted.compute_s) / predicted.waiting_s
            correction = min(max(correction * missed, 1 / MOST_CORRECTION), MOST_CORRECTION)
        alone_s = alone_s or measured_s or predicted.step_s
        yield Row(predicted, shards, measured_s, alone_s)


def _object(row: Row) -> dict[str, Any]:
    return {
        "ranks": row.prediction.ranks, "machines": row.prediction.machines, "shards": row.shards,
        "predicted_step_s": row.prediction.step_s, "measured_step_s": row.measured_s, "speedup": row.speedup,
        "efficiency": row.efficiency, "waiting_s": row.prediction.waiting_s,
        "bytes_per_host": round(row.prediction.memory),
    }  # fmt: skip


def _lines(rows: Sequence[Row], config: "Config", link: Link, link_measured: bool) -> Iterator[str]:
    """A table, what is recommended, and what it rests on."""
    table = [HEAD, *(_cells(row, config) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    yield from ("  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in table)
    yield ""
    yield from _advice(rows, config)
    hosts = max(len(row.prediction.machines) for row in rows)
    if hosts > 1:
        known = "measured" if link_measured else "as given, or else usual for 10 Gbit/s; none was measured"
        speed = f"{1e6 * link.latency_s:.0f} µs and {link.bytes_per_s / 1e6:,.0f} MB/s each way"
        yield f"a host's link: {speed} ({known})"
    if any(row.measured_s is None for row in rows):
        yield "predicted rows are a model's: such hosts and links, nobody else on them, no rank slower than the others"


def _cells(row: Row, config: "Config") -> tuple[str, ...]:
    prediction, mark = row.prediction, "*" if row.shards != config.training.shards else ""
    samples = config.training.batch_size / row.step_s
    return (
        f"{prediction.ranks}{mark}", str(len(prediction.machines)), _time(row.step_s),
        "predicted" if row.measured_s is None else "measured", f"{prediction.waiting_s / prediction.step_s:.0%}",
        f"{samples:,.0f}", f"{row.speedup:.2f}", f"{row.efficiency:.0%}", size(round(prediction.memory)),
    )  # fmt: skip


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} µs"


def _advice(rows: Sequence[Row], config: "Config") -> Iterator[str]:
    best = min((row for row in rows if row.efficiency >= WORTH), key=lambda row: row.step_s)
    where = f"{counted(best.prediction.ranks, 'rank')} on {counted(len(best.prediction.machines), 'host')}"
    yield f"recommended: {where}, the fastest that is at least {WORTH:.0%} efficient"
    for fewer, more in pairwise(rows):
        if more.step_s > fewer.step_s:
            ranks, times = (more.prediction.ranks, fewer.prediction.ranks), more.step_s / fewer.step_s
            yield f"warning: {ranks[0]} ranks are slower than {ranks[1]}: a step takes {times:.2f} times as long"
    if any(row.shards != config.training.shards for row in rows):
        yield f"* more than training.shards, {config.training.shards}: set that to their number, for another model"
