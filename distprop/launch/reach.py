"""Commands on other hosts, given as mpirun gives its own: by ssh, or by what the user has told it to use instead."""

import os
import socket
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from shlex import join

from distprop.heartbeat.interfaces import own_addresses
from distprop.launch.hosts import Host

ANSWER_S = 10.0
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
# What tells Open MPI 5, Open MPI 4 and MPICH to use something else.
AGENTS = ("PRTE_MCA_plm_ssh_agent", "OMPI_MCA_plm_rsh_agent", "HYDRA_LAUNCHER_EXEC")


@dataclass(frozen=True)
class Answer:
    """code: how the command has ended, None if it hasn't in time. command: one by which to try it by hand."""

    code: int | None
    output: str
    errors: str
    command: str

    @property
    def last_words(self) -> str:
        """The last line that was said on standard error."""
        return next((line.strip() for line in reversed(self.errors.splitlines()) if line.strip()), "")


def ask(name: str, command: str, limit_s: float) -> Answer:
    """Have a host's shell run a command."""
    agent = next((os.environ[variable].split() for variable in AGENTS if os.environ.get(variable)), list(SSH))
    by_hand = join([*agent, name, "true"])
    asked = subprocess.Popen([*agent, name, command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True)  # fmt: skip
    with asked as process:
        try:
            output, errors = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return Answer(None, "", "", by_hand)
    return Answer(process.returncode, output, errors, by_hand)


def answering(hosts: Sequence[Host]) -> tuple[Host, ...]:
    """Those of these hosts that run a command for us, in their order."""
    with ThreadPoolExecutor(len(hosts)) as pool:
        answers = list(pool.map(lambda host: is_here(host.name) or ask(host.name, "true", ANSWER_S).code == 0, hosts))
    return tuple(host for host, answer in zip(hosts, answers, strict=True) if answer)


def is_here(name: str) -> bool:
    """Whether this is the host on which we are: mpirun needs no agent for it."""
    try:
        address = socket.gethostbyname(name)
    except OSError:
        return False
    here = [one for every in own_addresses().values() for one in every]
    return name == socket.gethostname() or address.startswith("127.") or address in here
