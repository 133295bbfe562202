"""Ranks that try how long steps take: python -m distprop.trials ORDER ANSWER, under an mpirun.

ORDER is a JSON object that rank 0 reads: "config", the text of a configuration; "data", the name of its prepared data;
"layouts", what to try, see `Layout`.
ANSWER gets a JSON object: "machines", how many ranks there are on each host; "speeds", as comm/speed.py finds them;
"process_bytes", the memory of a rank before it trains; "trials", for each layout a list of what its ranks found.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from distprop.comm.mpi import Mpi, end_all_ranks_on_exceptions, some_of_all, wait_quietly
from distprop.comm.shards import owned_shards
from distprop.comm.speed import measure
from distprop.comm.stand_in import StandIn
from distprop.config import load_config
from distprop.config.run import Config
from distprop.environment import die_with_parent
from distprop.training.run import Material, compile_kernels, prepared_material
from distprop.training.timeline import gather_texts
from distprop.training.trial import trial

ROUNDS = 3  # the middle one counts: what disturbs a machine for a moment would else be part of one row alone


class Layout(NamedTuple):
    """machines: the ranks of each; real: with messages, between as many ranks; else these are stood in for."""

    machines: list[int]
    shards: int
    real: bool


def main(order: str, answer: str) -> None:
    die_with_parent()
    end_all_ranks_on_exceptions()
    comm = Mpi()
    told = json.loads(comm.broadcast(Path(order).read_text() if comm.rank == 0 else ""))
    config = _config(told["config"])
    material = prepared_material(config, told["data"])
    compile_kernels(config, material, comm, lambda: None)
    speeds, process_bytes = [speed._asdict() for speed in measure(comm)], psutil.Process().memory_info().rss
    layouts = [Layout(*layout) for layout in told["layouts"]]
    rounds = [[_try(layout, config, material, comm) for layout in layouts] for _ in range(ROUNDS)]
    found = [sorted(of_layout, key=_slowest_s)[ROUNDS // 2] for of_layout in zip(*rounds, strict=True)]
    if comm.rank == 0:
        told = {"machines": comm.machines, "speeds": speeds, "process_bytes": process_bytes, "trials": found}
        Path(answer).write_text(json.dumps(told))
    comm.barrier()


def _config(text: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.write_text(text)
        return load_config(file, check_files=False)


def _try(layout: Layout, config: Config, material: Material, comm: Mpi) -> list[dict[str, Any]]:
    """The trials of those ranks that take part, on every rank: a collective."""
    config = replace(config, training=replace(config.training, shards=layout.shards))
    own = next((index for index, rank in enumerate(_active(layout, comm)) if rank == comm.rank), None)
    found = None
    if layout.real:
        part = some_of_all(own is not None)
        if part:
            found = trial(config, material, part)
    else:
        wait_quietly()
        if own is not None:
            found = trial(config, material, StandIn(_heaviest(layout)[own], layout.machines))
    wait_quietly()
    texts = gather_texts(comm, json.dumps(asdict(found)) if found else "")
    return [json.loads(text) for text in texts if text]


def _slowest_s(ranks: Sequence[Mapping[str, float]]) -> float:
    return max(one["step_s"] for one in ranks)


def _active(layout: Layout, comm: Mpi) -> Iterator[int]:
    """The ranks that take part: as many on each machine as there would be, or as there are."""
    first = 0
    for there, wanted in zip(comm.machines, layout.machines, strict=False):
        yield from range(first, first + min(there, wanted))
        first += there


def _heaviest(layout: Layout) -> list[int]:
    """The ranks of a layout, those with most shards first: the others wait for them."""
    size = sum(layout.machines)
    loads = [last - first for first, last in (owned_shards(rank, size, layout.shards) for rank in range(size))]
    return sorted(range(size), key=lambda rank: (-loads[rank], rank))


if __name__ == "__main__":
    main(*sys.argv[1:])
