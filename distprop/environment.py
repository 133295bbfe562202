"""Which rank this process is, as its environment tells: without importing MPI, which would initialise it."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of Linux's prctl

LAUNCHED = "DISTPROP_LAUNCHED"  # set by distprop's own launcher for its ranks

WATCHER = "DISTPROP_WATCHER"  # where the ranks send their heartbeats to, as that launcher gives it

PREPARED = "DISTPROP_PREPARED"  # the name of the prepared data, which that launcher has seen to be on every host

# Each MPI tells its ranks their number by one of these.
_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


def rank_by_environment() -> int | None:
    """This process's rank if an mpirun has started it, else None."""
    return next((int(os.environ[name]) for name in _VARIABLES if os.environ.get(name, "").isdigit()), None)


def launched() -> bool:
    """Whether distprop's own launcher has started this rank: then that one shows what happens."""
    return LAUNCHED in os.environ


def watcher() -> str:
    """Where to send heartbeats to; "" if nobody has said so."""
    return os.environ.get(WATCHER, "")


def prepared() -> str:
    """The name of the data that are prepared; "" if nobody has said so."""
    return os.environ.get(PREPARED, "")


def rank_0_has_ended() -> bool:
    """Whether all ranks are on this machine, as MPICH tells, and rank 0 is gone. MPICH lets the others live."""
    if os.environ.get("MPI_LOCALNRANKS") != os.environ.get("PMI_SIZE", "?"):
        return False
    try:
        children = Path(f"/proc/{os.getppid()}/task/{os.getppid()}/children").read_text().split()
        environments = [Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children]
    except OSError:
        return False
    return not any(b"PMI_RANK=0" in environment for environment in environments)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that has started it ends, whatever both are doing."""
    parent = os.getppid()
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
