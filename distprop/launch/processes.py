"""Starts mpirun so that nothing of it is left when it shall end, nor when we are killed."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distprop.errors import UsageError
from distprop.launch.command import Command
from distprop.launch.family import TOKEN, Family, signal_process
from distprop.launch.keeper import DONE

KEEPER = (sys.executable, "-m", "distprop.launch.keeper")
# Where Open MPI 5 and 4 keep a folder that is named after mpirun's process. It stays when that is killed, and the next
# mpirun whose process happens to have the same number refuses to start. So each start has a place of its own.
SESSION_FOLDER = ("PRTE_MCA_prte_local_tmpdir_base", "OMPI_MCA_orte_local_tmpdir_base")
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

    def remember_segments(self) -> None:
        """Note the shared memory in use, so that it is removed even if all who use it are killed, and we too."""
        self.family.remember_segments()
        _tell(self.keeper, *map(str, self.family.segments))

    def end(self, grace_s: float = 1.0) -> None:
        """Leave nothing behind."""
        self.family.end(grace_s)
        self.mpirun.poll()
        with suppress(OSError, subprocess.TimeoutExpired):  # a keeper that is gone has nothing to end
            self.keeper.communicate(DONE.encode(), KEEPER_S)


def start_processes(command: Command, log: Path) -> Processes:
    """Start a command in its own session, so that a terminal's Ctrl-C reaches only us; all its output goes to `log`."""
    token, folder = secrets.token_hex(8), tempfile.mkdtemp(prefix="distprop-")
    keeper = subprocess.Popen([*KEEPER, token, folder], stdin=subprocess.PIPE, start_new_session=True)
    ours = {TOKEN: token, **dict.fromkeys(SESSION_FOLDER, folder)}
    with log.open("ab") as output:
        try:
            mpirun = subprocess.Popen(
                command.arguments,
                env={"HOME": os.path.expanduser("~"), **os.environ, **command.environment, **ours},  # noqa: PTH111 (Open MPI needs one; Path raises)
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                close_fds=False,  # the run's lock is handed on, see `RunDirectory.held`; nothing else is inheritable
            )
        except OSError as error:
            keeper.communicate(DONE.encode())
            shutil.rmtree(folder)
            raise UsageError(f"{command.arguments[0]}: can't be started: {error.strerror}") from error
    _tell(keeper, str(mpirun.pid))
    return Processes(mpirun, Family(token, mpirun.pid, Path(folder)), keeper)


def _tell(keeper: "subprocess.Popen[bytes]", *lines: str) -> None:
    assert keeper.stdin is not None
    with suppress(OSError):  # it was killed
        keeper.stdin.write("".join(f"{line}\n" for line in lines).encode())
        keeper.stdin.flush()
