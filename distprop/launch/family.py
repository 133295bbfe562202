"""An mpirun and everything that comes from it on this machine: found again, and ended, whatever it does."""

import os
import re
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# Every process of one start has this variable. MPICH gives each rank a session and a group of its own: they don't tell.
TOKEN = "DISTPROP_LAUNCH_TOKEN"
# What MPI's ranks share; mpirun removes it, unless it is killed itself.
SEGMENT = re.compile(rb"/dev/shm/(?:sm_segment|vader_segment|osc_|mpich_shm_)[^/\s]*")
KILL_S = 10.0  # a process that hangs in a dead file system can't be killed; don't wait for it for ever
LOOK_S = 0.01


@dataclass(frozen=True)
class Family:
    """Known by a token in their environment. mpirun: its process's number; folder: where it keeps its own files."""

    token: str
    mpirun: int
    folder: Path
    segments: set[Path] = field(default_factory=set)  # of shared memory

    def members(self) -> list[int]:
        """Those that still run."""
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

    def end(self, grace_s: float = 1.0) -> None:
        """Leave nothing behind: SIGTERM to mpirun, and after `grace_s` SIGKILL to all that is left."""
        self.remember_segments()
        if self.mpirun in self.members():
            signal_process(self.mpirun, signal.SIGTERM)
            deadline = time.monotonic() + grace_s
            while self.mpirun in self.members() and time.monotonic() < deadline:
                time.sleep(LOOK_S)
        deadline = time.monotonic() + KILL_S
        while (left := self.members()) and time.monotonic() < deadline:
            for pid in left:
                signal_process(pid, signal.SIGKILL)
            time.sleep(LOOK_S)
        for segment in self.segments:
            segment.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def signal_process(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
