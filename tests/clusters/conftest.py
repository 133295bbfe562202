"""Real engines for tests: Debian's packages, installed if we are root, and daemons that end with the test."""

import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

WAIT_S = 240.0  # for anything that an engine does: machines may be slow and busy
INSTALL = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "


@pytest.fixture(scope="session")
def need() -> Callable[[Mapping[str, str]], None]:
    """Call it with programs and their packages: missing ones are installed, or the test is skipped."""
    return _need


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object], str], None]:
    """Call it with a condition and its name to wait until it holds; fails after `WAIT_S`."""
    return _until


def _need(programs: Mapping[str, str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make virtual machines")
    with (Path(tempfile.gettempdir()) / "distprop-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages = sorted({package for program, package in programs.items() if not shutil.which(program)})
        if packages and shutil.which("apt-get"):
            subprocess.run(["sh", "-c", INSTALL + " ".join(packages)], capture_output=True, timeout=400, check=False)
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed, and can't be: {', '.join(missing)}")


def _until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"not within {WAIT_S} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def free_ports() -> Callable[[int], list[int]]:
    """Call it for a number of TCP ports that nobody listens on."""

    def find(count: int) -> list[int]:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return [one.getsockname()[1] for one in sockets]

    return find


@pytest.fixture
def daemons(run_command) -> Iterator[Callable[..., object]]:
    """Call it with a command and its environment to start a daemon, which is ended, with all that it started."""
    run_command.ending_s = 0.0
    started = []

    def start(command, environment=None, log=None):
        variables = {**os.environ, **(environment or {}), "DISTPROP_TEST_TOKEN": run_command.tokens[0]}
        with Path(log or os.devnull).open("ab") as output:
            process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env=variables, cwd=run_command.folder, start_new_session=True,
            )  # fmt: skip
        started.append(process)
        return process

    run_command.tokens.append(f"daemons-{os.getpid()}-{id(run_command)}")
    try:
        yield start
    finally:
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        run_command.kill(run_command.tokens)
