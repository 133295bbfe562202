"""Which hosts answer, asked all at once in the way in which mpirun would start its daemons there."""

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from distprop.heartbeat.listener import addresses
from distprop.launch.hosts import Host

ANSWER_S = 10.0
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
# What tells Open MPI 5, Open MPI 4 and MPICH to use something else.
AGENTS = ("PRTE_MCA_plm_ssh_agent", "OMPI_MCA_plm_rsh_agent", "HYDRA_LAUNCHER_EXEC")


def answering(hosts: Sequence[Host], environment: Mapping[str, str] = os.environ) -> tuple[Host, ...]:
    """Those of these hosts that run a command for us, in their order."""
    agent = next((environment[name].split() for name in AGENTS if environment.get(name)), list(SSH))
    with ThreadPoolExecutor(len(hosts)) as pool:
        answers = list(pool.map(lambda host: _answers(host.name, agent), hosts))
    return tuple(host for host, answer in zip(hosts, answers, strict=True) if answer)


def _answers(name: str, agent: Sequence[str]) -> bool:
    if _is_here(name):
        return True
    try:
        return subprocess.run([*agent, name, "true"], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=ANSWER_S, check=False).returncode == 0  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False


def _is_here(name: str) -> bool:
    """Whether this is the host on which we are: mpirun needs no agent for it."""
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return False
    return name == socket.gethostname() or address.startswith("127.") or address in addresses()
