"""Starts mpirun so that nothing of it is left when it shall end, nor when we are killed."""

import os
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distprop.errors import UsageError
from distprop.launch.command import Command
from distprop.launch.family import TOKEN, Family, signal_process
from distprop.launch.keeper import DONE

KEEPER = (sys.executable, "-m", "distprop.launch.keeper")
KEEPER_S = 10.0  # for it to end: it is done when it has read one word


@dataclass(frozen=True)
class Processes:
    """mpirun, everything that comes from it on this machine, and who ends it if we can't."""

    mpirun: "subprocess.Popen[bytes]"
    family: Family
    keeper: "subprocess.Popen[bytes]"

    def request_stop(self) -> None:
        """SIGUSR1 to mpirun, which both MPIs hand on to all ranks."""
        signal_process(self.mpirun.pid, signal.SIGUSR1)

    def end(self, grace_s: float = 1.0) -> None:
        """Leave nothing behind."""
        self.family.end(grace_s)
        self.mpirun.poll()
        with suppress(OSError, subprocess.TimeoutExpired):  # a keeper that is gone has nothing to end
            self.keeper.communicate(DONE.encode(), KEEPER_S)


def start_processes(command: Command, log: Path) -> Processes:
    """Start a command in its own session, so that a terminal's Ctrl-C reaches only us; all its output goes to `log`."""
    token = secrets.token_hex(8)
    keeper = subprocess.Popen([*KEEPER, token], stdin=subprocess.PIPE, start_new_session=True)
    assert keeper.stdin is not None
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
            keeper.communicate(DONE.encode())
            raise UsageError(f"{command.arguments[0]}: can't be started: {error.strerror}") from error
    with suppress(OSError):
        keeper.stdin.write(f"{mpirun.pid}\n".encode())
        keeper.stdin.flush()
    return Processes(mpirun, Family(token, mpirun.pid), keeper)
