"""The turns of steps.py: one program each, on pinned cores, with one thread a process and a hard time limit."""

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from peers import peer_python
from steps_task import Task

from distprop.launch.command import mpirun_command
from distprop.launch.machine import this_machine
from distprop.launch.mpi import find_mpi

HERE = Path(__file__).parent
LIMIT_S = 300.0
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


@dataclass(frozen=True)
class Started:
    """A command, and variables for it."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """Who takes turns. start(folder): the command; processes: each has a core; copies: that many at the same time."""

    start: Callable[[Path], Started]
    processes: int = 1
    copies: int = 1


@dataclass(frozen=True)
class Turn:
    """samples_per_s: median over the measured epochs. losses: of the first steps. split: seconds of an epoch, ours."""

    samples_per_s: float
    losses: list[float]
    split: Mapping[str, float]


def script(name: str, *arguments: str, environment: str | None = None) -> Callable[[Path], Started]:
    """A program of this folder, in the environment of a peer or in ours."""

    def start(folder: Path) -> Started:
        python = str(peer_python(environment)) if environment else sys.executable
        return Started((python, str(HERE / name), *arguments, str(folder)))

    return start


def ranks(count: int) -> Callable[[Path], Started]:
    """Our program as ranks of mpirun."""

    def start(folder: Path) -> Started:
        program = [sys.executable, str(HERE / "steps_distprop.py"), str(folder)]
        command = mpirun_command(_mpi(), program, count, [], this_machine(), str(HERE))
        safe_path_off = {"PYTHONSAFEPATH": ""}  # the program imports from its folder
        return Started(command.arguments, command.environment | safe_path_off)

    return start


_mpi = cache(find_mpi)

SIDES = {
    "1 rank": Side(script("steps_distprop.py")),
    "2 ranks": Side(ranks(2), processes=2),
    "two runs": Side(script("steps_distprop.py"), copies=2),
    "PyTorch": Side(script("steps_torch.py", "eager", environment="peers")),
    "torch.compile": Side(script("steps_torch.py", "compile", environment="peers")),
    "JAX step": Side(script("steps_jax.py", "step", environment="peers-jax")),
    "JAX scan": Side(script("steps_jax.py", "scan", environment="peers-jax")),
    "scikit-learn": Side(script("steps_sklearn.py", environment="peers")),
    "PyTorch DDP": Side(script("steps_torch.py", "ddp", environment="peers"), processes=2),
}


def take(side: Side, task: Task, folder: Path) -> Turn:
    """Let a side take its turn; copies run at the same time, and their speeds are summed."""
    started = side.start(folder)
    spans = [task.cores[n : n + side.processes] for n in range(side.copies)]
    running = [_run(started, span) for span in spans]
    results = [_result(process) for process in running]
    steps = task.samples // task.batch
    speeds = [steps * task.batch / statistics.median(result["seconds"]) for result in results]
    return Turn(sum(speeds), results[0]["losses"], results[0].get("split", {}))


def _run(started: Started, cores: tuple[int, ...]) -> "subprocess.Popen[str]":
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # what is started inherits it
    try:
        environment = {**os.environ, **ONE_THREAD, **started.environment}
        return subprocess.Popen(
            started.arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.sched_setaffinity(0, before)


def _result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The last line that a program prints. Ends it and what it has started if it takes too long."""
    try:
        output, errors = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.terminate()  # mpirun ends its ranks then
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(map(str, process.args))} failed:\n{errors[-2000:]}")  # type: ignore[arg-type]
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found
