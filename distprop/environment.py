"""Which rank this process is, as its environment tells: without importing MPI, which would initialise it."""

import ctypes
import os
import signal
from contextlib import suppress

PR_SET_PDEATHSIG = 1  # of Linux's prctl

LAUNCHED = "DISTPROP_LAUNCHED"  # set by distprop's own launcher for its ranks

WATCHER = "DISTPROP_WATCHER"  # where the ranks send their heartbeats to, as that launcher gives it

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


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that has started it ends, whatever both are doing."""
    parent = os.getppid()
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
