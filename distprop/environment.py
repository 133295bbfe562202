"""Which rank this process is, as its environment tells: without importing MPI, which would initialise it."""

import os

LAUNCHED = "DISTPROP_LAUNCHED"  # set by distprop's own launcher for its ranks

# Each MPI tells its ranks their number by one of these.
_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")


def rank_by_environment() -> int | None:
    """This process's rank if an mpirun has started it, else None."""
    return next((int(os.environ[name]) for name in _VARIABLES if os.environ.get(name, "").isdigit()), None)


def launched() -> bool:
    """Whether distprop's own launcher has started this rank: then that one shows what happens."""
    return LAUNCHED in os.environ
