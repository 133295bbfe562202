"""Commands on other hosts, given as mpirun gives its own: by ssh, or by what the user has told it to use instead."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import join, quote
from typing import IO, cast

from distprop.heartbeat.interfaces import own_addresses
from distprop.launch.hosts import Host
from distprop.paths import cache_variables

ANSWER_S = 10.0
LOOK_S = 0.2
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=5")
# What tells Open MPI 5, Open MPI 4 and MPICH to use something else.
AGENTS = ("PRTE_MCA_plm_ssh_agent", "OMPI_MCA_plm_rsh_agent", "HYDRA_LAUNCHER_EXEC")


@dataclass(frozen=True)
class Answer:
    """code: how the command has ended, None if it hasn't in time. command: one by which to try it by hand."""

    code: int | None
    output: str
    errors: str
    command: str

    @property
    def last_words(self) -> str:
        """The last line that was said on standard error."""
        return next((line.strip() for line in reversed(self.errors.splitlines()) if line.strip()), "")


def ask(name: str, command: str, limit_s: float) -> Answer:
    """Have a host's shell run a command."""
    by_hand = join(_on(name, "true"))
    asked = subprocess.Popen(_on(name, command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)  # fmt: skip
    with asked as process:
        try:
            output, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return Answer(None, "", "", by_hand)
    return Answer(process.returncode, output, errors, by_hand)


def send(
    name: str, command: str, fill: Callable[[IO[bytes]], None], limit_s: float, going_on: Callable[[], bool]
) -> Answer:
    """Have a host's shell run a command that reads what `fill` writes.

    limit_s: how long it may take nothing, and how long it may take after the last byte.
    """
    by_hand = join(_on(name, "true"))
    started = subprocess.Popen(_on(name, command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip
    with started as process:
        assert process.stdin
        try:
            with suppress(BrokenPipeError):  # it has ended, and says why
                fill(cast(IO[bytes], _Pipe(process.stdin.fileno(), limit_s, going_on)))
            process.stdin.close()
            process.stdin = None
            errors = _end_of(process, limit_s, going_on)
        except (TimeoutError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            return Answer(None, "", "", by_hand)
    return Answer(process.returncode, "", errors.decode(errors="replace"), by_hand)


class _Pipe:
    """What is written goes to a process. TimeoutError if it takes nothing for so long, or we don't go on."""

    def __init__(self, descriptor: int, limit_s: float, going_on: Callable[[], bool]) -> None:
        self._descriptor, self._limit_s, self._going_on = descriptor, limit_s, going_on
        os.set_blocking(descriptor, False)

    def write(self, content: bytes) -> int:
        left = memoryview(content)
        while left:
            self._wait()
            left = left[os.write(self._descriptor, left) :]
        return len(content)

    def _wait(self) -> None:
        until = time.monotonic() + self._limit_s
        while self._going_on() and time.monotonic() < until:
            if select.select([], [self._descriptor], [], LOOK_S)[1]:
                return
        raise TimeoutError


def _end_of(process: "subprocess.Popen[bytes]", limit_s: float, going_on: Callable[[], bool]) -> bytes:
    """What a process has said on standard error when it ends. TimeoutExpired if it doesn't."""
    until = time.monotonic() + limit_s
    while True:
        try:
            return process.communicate(timeout=LOOK_S)[1]
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until or not going_on():
                raise


def module_command(module: str, *arguments: str) -> str:
    """For a shell of another host: run a module of ours in the folder in which we are, with the same cache."""
    folder = quote(str(Path.cwd()))
    variables = "".join(f"{name}={quote(value)} " for name, value in cache_variables().items())
    return f"mkdir -p {folder} && cd {folder} && {variables}{join([sys.executable, '-m', module, *arguments])}"


def _on(name: str, command: str) -> list[str]:
    agent = next((os.environ[variable].split() for variable in AGENTS if os.environ.get(variable)), list(SSH))
    return [*agent, name, command]


def answering(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Those of these hosts that run a command for us, in their order."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        answers = list(pool.map(lambda host: is_here(host.name) or ask(host.name, "true", ANSWER_S).code == 0, hosts))
    return tuple(host for host, answer in zip(hosts, answers, strict=True) if answer)


def is_here(name: str) -> bool:
    """Whether this is the host on which we are: mpirun needs no agent for it."""
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return False
    here = [one for every in own_addresses().values() for one in every]
    return name == socket.gethostname() or address.startswith("127.") or address in here
