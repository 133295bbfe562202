"""Starts mpirun so that all processes that come from it can be found again and ended, whatever they do."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from distprop.errors import UsageError
from distprop.launch.command import Command

# Every process of one start has this variable. MPICH gives each rank a session and a group of its own: they don't tell.
TOKEN = "DISTPROP_LAUNCH_TOKEN"
# What MPI's ranks share; mpirun removes it, unless it is killed itself.
SEGMENT = re.compile(rb"/dev/shm/(?:sm_segment|vader_segment|osc_|mpich_shm_)[^/\s]*")
KILL_S = 10.0  # a process that hangs in a dead file system can't be killed; don't wait for it for ever


@dataclass(frozen=True)
class Processes:
    """mpirun and everything that comes from it on this machine."""

    mpirun: "subprocess.Popen[bytes]"
    token: str
    segments: set[Path] = field(default_factory=set)  # of shared memory

    def request_stop(self) -> None:
        """SIGUSR1 to mpirun, which both MPIs hand on to all ranks."""
        self._signal(self.mpirun.pid, signal.SIGUSR1)

    def end(self, grace_s: float = 1.0) -> None:
        """Leave nothing behind: SIGTERM to mpirun, and after `grace_s` SIGKILL to all that is left."""
        self.remember_segments()
        if self.mpirun.poll() is None:
            self._signal(self.mpirun.pid, signal.SIGTERM)
            try:
                self.mpirun.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.mpirun.kill()
        deadline = time.monotonic() + KILL_S
        while (left := self.members()) and time.monotonic() < deadline:
            for pid in left:
                self._signal(pid, signal.SIGKILL)
            self.mpirun.poll()
            time.sleep(0.01)
        self.mpirun.poll()
        for segment in self.segments:
            segment.unlink(missing_ok=True)
        shutil.rmtree(Path(tempfile.gettempdir()) / f"ompi.{self.mpirun.pid}", ignore_errors=True)

    def members(self) -> list[int]:
        """Processes of this start that still run."""
        import psutil

        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except (psutil.Error, OSError):  # gone meanwhile, or another user's
                continue
        return found

    def remember_segments(self) -> None:
        """Note the shared memory that the members have mapped, so that its end doesn't depend on theirs."""
        for pid in self.members():
            with suppress(OSError):
                maps = Path(f"/proc/{pid}/maps").read_bytes()
                self.segments.update(Path(os.fsdecode(name)) for name in SEGMENT.findall(maps))

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def start_processes(command: Command, log: Path) -> Processes:
    """Start a command in its own session, so that a terminal's Ctrl-C reaches only us; all its output goes to `log`."""
    token = secrets.token_hex(8)
    with log.open("ab") as output:
        try:
            mpirun = subprocess.Popen(
                command.arguments,
                env={"HOME": os.path.expanduser("~"), **os.environ, **command.environment, TOKEN: token},  # noqa: PTH111 (Open MPI needs one; Path raises)
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=False,  # the run's lock is handed on, see `RunDirectory.held`; nothing else is inheritable
            )
        except OSError as error:
            raise UsageError(f"{command.arguments[0]}: can't be started: {error.strerror}") from error
    return Processes(mpirun, token)
