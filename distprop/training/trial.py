"""Times steps that change nothing, on a rank among others or on one that stands in for it."""

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from distprop.comm.communicator import Communicator
from distprop.comm.stand_in import Mark, StandIn
from distprop.comm.volumes import Volume
from distprop.config.run import Config
from distprop.training.loop import Silent, Training
from distprop.training.run import Material

ENOUGH_S, MOST_S = 0.2, 0.7  # of steps as they are when all is compiled, and of others
LEAST_STEPS = 5
RUN_S = 0.02  # of some steps without looking round


@dataclass(frozen=True)
class Trial:
    """One rank's steps. step_s: the seconds of one.

    What follows is known of a rank that stands in. marks: (traffic, starts) of a step, as in comm/stand_in.py;
    pieces: the seconds of computing before each; volumes: of each traffic, as in comm/volumes.py.
    """

    step_s: float
    pieces: tuple[float, ...] = ()
    marks: tuple[tuple[int, bool], ...] = ()
    volumes: tuple[Volume, ...] = ()
    agreed_bytes: int = 0
    private_bytes: int = 0
    shared_bytes: int = 0


class _Run(NamedTuple):
    """is_compiled: whether all was machine code when it began."""

    steps: int
    seconds: float
    marks: list[Mark]
    is_compiled: bool


def trial(config: Config, material: Material, comm: Communicator) -> Trial:
    """Train for a moment: a collective. The kernels must be compiled."""
    tracemalloc.start()
    training = Training(config, comm, material.data, None, material.encoding, Silent(), "")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    runs = list(_runs(training, comm))
    runs = [run for run in runs if run.is_compiled] or runs[len(runs) // 2 :]
    step_s = median(run.seconds / run.steps for run in runs)
    if not isinstance(comm, StandIn):
        return Trial(step_s)
    pieces, marks = _pieces(runs)
    return Trial(
        step_s, pieces, marks, tuple(training.volumes), comm.agreed_bytes, used - comm.shared_bytes, comm.shared_bytes
    )


def _runs(training: Training, comm: Communicator) -> Iterator[_Run]:
    """As rank 0 sees fit: one step at first, then as many at a time as take some while."""
    marks = comm.marks if isinstance(comm, StandIn) else []
    done, began, compiled = 0, time.perf_counter(), None
    wanted = 1
    while wanted:
        marks.clear()
        begin = time.perf_counter()
        steps = training.try_steps(done, wanted)
        end = time.perf_counter()
        yield _Run(steps, end - begin, list(marks), compiled is not None)
        done += steps
        compiled = end if compiled is None and training.is_compiled else compiled
        enough = done >= LEAST_STEPS and (end - compiled > ENOUGH_S if compiled else end - began > MOST_S)
        wanted = 0 if enough else max(1, int(RUN_S * steps / (end - begin)))
        wanted = int(comm.broadcast(str(wanted)))


def _pieces(runs: list[_Run]) -> tuple[tuple[float, ...], tuple[tuple[int, bool], ...]]:
    """The median seconds before each mark of a step, from the last one of the step before on, and the marks."""
    count = len(runs[0].marks) // runs[0].steps
    if not count:
        return (), ()
    rows = []
    for run in runs:
        times = np.array([mark.seconds for mark in run.marks]).reshape(run.steps, count)
        between = np.diff(times, axis=1).mean(axis=0)
        rows.append([run.seconds / run.steps - between.sum(), *between])
    pieces = tuple(np.median(rows, axis=0).tolist())
    return pieces, tuple((mark.traffic, mark.starts) for mark in runs[0].marks[:count])
