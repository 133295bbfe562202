"""Programs that a benchmark starts, in our environment or in a peer's, alone or as ranks, on cores of their own.

A program's last argument is the folder of its conversation, see conversation.py. Programs stay alive and take turns, so
many short turns of all sides can follow each other; a disturbance of the machine then hits all sides alike.
"""

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from conversation import ANSWERS, CORES
from peers import peer_python

from distprop.launch.command import mpirun_command
from distprop.launch.hosts import Host
from distprop.launch.machine import this_machine
from distprop.launch.mpi import find_mpi

HERE = Path(__file__).parent
LIMIT_S = 300.0
POLL_S = 0.2
GRACE_S = 10.0


@dataclass(frozen=True)
class Program:
    """A command without the folder that is its last argument, variables for it, and how many processes converse.

    pinned: each of several processes has one of the cores; otherwise all have all of them.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    processes: int = 1
    pinned: bool = True


def script(
    name: str, *arguments: object, environment: str | None = None, processes: int = 1, threads: int = 1
) -> Program:
    """A program of this folder, in the environment of a peer or in ours."""
    python = str(peer_python(environment)) if environment else sys.executable
    variables = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    return Program((python, str(HERE / name), *map(str, arguments)), variables, processes)


def ranks(count: int, name: str, *arguments: object, hosts: Sequence[str] = ()) -> Program:
    """A program of this folder as ranks of mpirun, on this machine or one on each host."""
    program = [sys.executable, str(HERE / name), *map(str, arguments)]
    places = [Host(host, 1) for host in hosts]
    command = mpirun_command(_mpi(), program, count, places, this_machine(), str(HERE))
    safe_path_off = {"PYTHONSAFEPATH": ""}  # the program imports from its folder
    return Program(command.arguments, command.environment | safe_path_off, count)


_mpi = cache(find_mpi)


class Running:
    """A started program. Ends it, and all that it has started, at the end of the context.

    cores: as many as the program has processes, or more for a single process with several threads.
    """

    def __init__(self, program: Program, cores: Sequence[int]) -> None:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            apart = program.pinned and program.processes > 1
            spans = [[core] for core in cores] if apart else [list(cores)] * program.processes
            (folder / CORES).write_text(json.dumps(spans))
            self._questions = [_pipe(stack, folder / str(rank)) for rank in range(program.processes)]
            self._answers, self._unread = _pipe(stack, folder / ANSWERS), b""
            self._log = stack.enter_context((folder / "log").open("w+"))
            with on_cores(cores):
                self._process = subprocess.Popen(
                    [*program.arguments, str(folder)], env={**os.environ, **program.environment},
                    stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True,
                )  # fmt: skip
            self._stack = stack.pop_all()

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            for pipe in self._questions:
                pipe.close()
            self._end(patiently=kind is None)

    def ask(self, question: Any) -> None:
        for pipe in self._questions:
            pipe.write(json.dumps(question).encode() + b"\n")

    def answer(self) -> Any:
        """Wait for the next answer. RuntimeError, with what the program printed, if it ends or takes too long."""
        deadline = time.monotonic() + LIMIT_S
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], POLL_S)
            if ready:
                self._unread += self._answers.read(1 << 16) or b""
            elif self._process.poll() is not None:
                raise RuntimeError(f"{self._name} ended with exit code {self._process.returncode}:\n{self._printed()}")
            elif time.monotonic() > deadline:
                raise RuntimeError(f"{self._name} took longer than {LIMIT_S:.0f} s:\n{self._printed()}")
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    @property
    def _name(self) -> str:
        return " ".join(map(str, self._process.args))  # type: ignore[arg-type, union-attr]

    def _printed(self) -> str:
        self._log.seek(0)
        return self._log.read()[-3000:]

    def _end(self, patiently: bool) -> None:
        """It has seen the end of its questions. A terminated mpirun ends its ranks; what is left then is killed."""
        for limit_s, number in ((GRACE_S if patiently else 0.0, signal.SIGTERM), (GRACE_S, signal.SIGKILL)):
            try:
                self._process.wait(limit_s)
                return
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, number)
        self._process.wait()


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """What is started within this context inherits these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pipe(stack: contextlib.ExitStack, path: Path) -> io.FileIO:
    """A named pipe, open for both directions, so that neither side waits for the other one to open it."""
    os.mkfifo(path)
    return stack.enter_context(io.FileIO(os.open(path, os.O_RDWR), "r+"))


def result_of(program: Program, cores: Sequence[int]) -> Any:
    """What a program answers by itself."""
    with Running(program, cores) as running:
        return running.answer()
