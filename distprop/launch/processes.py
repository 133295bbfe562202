"""Starts mpirun so that all processes that come from it can be found again and ended, whatever they do."""

import os
import secrets
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from distprop.errors import UsageError
from distprop.launch.command import Command

# Every process of one start has this variable. MPICH gives each rank a session and a group of its own: they don't tell.
TOKEN = "DISTPROP_LAUNCH_TOKEN"
KILL_S = 10.0  # a process that hangs in a dead file system can't be killed; don't wait for it for ever


@dataclass(frozen=True)
class Processes:
    """mpirun and everything that comes from it on this machine."""

    mpirun: "subprocess.Popen[bytes]"
    token: str

    def request_stop(self) -> None:
        """SIGUSR1 to mpirun, which both MPIs hand on to all ranks."""
        self._signal(self.mpirun.pid, signal.SIGUSR1)

    def end(self, grace_s: float = 1.0) -> None:
        """Leave nothing behind: SIGTERM to mpirun, and after `grace_s` SIGKILL to all that is left."""
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
                env={**os.environ, **command.environment, TOKEN: token},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise UsageError(f"{command.arguments[0]}: can't be started: {error.strerror}") from error
    return Processes(mpirun, token)
