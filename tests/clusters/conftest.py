"""Real engines for tests: Debian's packages, installed if we are root, and daemons that end with the test."""

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

TOKEN = "DISTPROP_TEST_TOKEN"  # as in ../conftest.py
ENDING_S = 30.0
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


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Call it for a number of TCP ports that nobody listens on."""

    def find(count: int) -> list[int]:
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            return [one.getsockname()[1] for one in sockets]

    return find


class Daemons:
    """Programs in the background. Every process that comes from them has this token in its environment."""

    def __init__(self, folder: Path):
        self.folder, self.token = folder, f"daemons-{secrets.token_hex(8)}"
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, command: Sequence[object], environment: Mapping[str, str] | None = None) -> Path:
        """Start one; return the file of its words."""
        log = self.folder / f"daemon-{len(self.started)}.log"
        with log.open("wb") as output:
            self.started.append(
                subprocess.Popen(
                    [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    env={**os.environ, **(environment or {}), TOKEN: self.token}, cwd=self.folder,
                    start_new_session=True,
                )
            )  # fmt: skip
        return log

    def running(self) -> bool:
        return all(process.poll() is None for process in self.started)

    def end(self) -> None:
        for process in reversed(self.started):
            process.terminate()
            try:
                process.wait(ENDING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.environ().get(TOKEN) == self.token:
                    process.kill()


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    """Call it with a command and its environment to start a daemon, which ends with the tests of the module."""
    started = Daemons(tmp_path_factory.mktemp("daemons"))
    yield started
    started.end()
