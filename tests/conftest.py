"""Fixtures for tests that start processes: every command has a hard time limit and leaves nothing behind."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

TOKEN = "DISTPROP_TEST_TOKEN"
LIMIT_S = 250.0  # for one command: the machines of a CI may be many times slower than ours
ENDING_S = 60.0  # the helpers of an mpirun of the user's end a moment after it

# What a test finds depends on the code alone: not on how long an example takes, nor on which ones are drawn today.
settings.register_profile("distprop", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("distprop")


@pytest.fixture(autouse=True, scope="session")
def signals_as_in_a_terminal() -> None:
    """Tests in the background of a shell inherit ignored signals; what they test is the usual case."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Commands:
    """Runs commands whose processes can all be found again, as each inherits the token of its command.

    What a command has started may outlive it by `ending_s`.
    """

    def __init__(self, folder: Path, ending_s: float = ENDING_S):
        self.folder, self.ending_s = folder, ending_s
        self.tokens: list[str] = []

    def __call__(
        self,
        arguments: Sequence[str | Path],
        timeout_s: float = LIMIT_S,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Fails if it takes too long or leaves a process behind."""
        with self.start(arguments, environment, folder) as process:
            output, errors = process.communicate(timeout=timeout_s)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    @contextmanager
    def start(
        self,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Iterator["subprocess.Popen[str]"]:
        """A running command; at the end it must have ended, with all that it started."""
        token = secrets.token_hex(8)
        self.tokens.append(token)
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {}), TOKEN: token},
            cwd=folder or self.folder,
            start_new_session=True,
        )
        with process:
            try:
                yield process
                left = self.left_behind(token, process.pid)
                assert not left, f"left behind: {left}"
            finally:
                self.kill([token])

    def left_behind(self, token: str, command: int) -> list[str]:
        """Processes of a command besides itself that don't end in time."""
        until = time.monotonic() + self.ending_s
        while True:
            left = [found for found in self.members([token]) if found.pid != command]
            if not left or time.monotonic() >= until:
                return [str(found) for found in left]
            time.sleep(0.01)

    def members(self, tokens: Sequence[str]) -> list[psutil.Process]:
        """All processes of these commands that still run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN) in tokens and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def kill(self, tokens: Sequence[str]) -> None:
        for process in self.members(tokens):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


@pytest.fixture
def run_command(tmp_path: Path) -> Iterator[Commands]:
    """Call it to run a command with a time limit, or `.start` one; see `Commands`."""
    commands = Commands(tmp_path)
    yield commands
    commands.kill(commands.tokens)


@pytest.fixture
def distprop(run_command: Commands) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call it with the arguments of the command line, as separate strings."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        return run_command([sys.executable, "-m", "distprop.cli", *arguments], **options)  # type: ignore[arg-type]

    return run


@pytest.fixture
def mpirun(tmp_path: Path) -> Callable[[int], list[str]]:
    """Call it with a number of ranks for a user's own mpirun command, without the program: of whichever MPI is here."""
    from distprop.launch.command import mpirun_command
    from distprop.launch.machine import this_machine
    from distprop.launch.mpi import find_mpi

    def command(ranks: int) -> list[str]:
        whole = mpirun_command(find_mpi(), [], ranks, (), this_machine(), str(tmp_path))
        variables = [f"{name}={value}" for name, value in whole.environment.items()]
        return ["env", *variables, *whole.arguments]

    return command
