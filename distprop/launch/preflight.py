"""Before ranks are started on other hosts: does each host answer, and is it like this one?

All are asked at once, in the way in which mpirun would start its daemons there. Nothing is left running on them.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from distprop.errors import DistpropError, UsageError
from distprop.heartbeat.interfaces import own_addresses
from distprop.launch.cores import available_cores
from distprop.launch.hosts import Host
from distprop.launch.mpi import find_mpi
from distprop.launch.reach import Answer, ask, is_here, module_command
from distprop.paths import kernel_sources

ANSWER_S = 25.0
PACKAGES = ("distprop", "numpy", "numba", "mpi4py")
NOT_FOUND = 126, 127  # exit codes of a shell: it is no program, or not there
REFUSED = 255  # that of ssh


class HostsError(UsageError):
    """Hosts that can't take part: a line for each problem."""


@dataclass(frozen=True)
class Facts:
    """What must be alike on all hosts, by name; cores; and names of network interfaces."""

    alike: dict[str, str]
    cores: int
    interfaces: list[str]


def check_hosts(hosts: Sequence[Host], interfaces: Sequence[str] = ()) -> list[str]:
    """What is to be told of hosts that are slower than they might be.

    Raises HostsError with a line for each problem, which names the host and the cure. Interfaces must be there on each.
    """
    others = [host for host in hosts if not is_here(host.name)]
    if not others:
        return []
    command = module_command("distprop.launch.preflight")
    with ThreadPoolExecutor(len(others)) as pool:
        answers = list(pool.map(lambda host: ask(host.name, command, ANSWER_S), others))
    here = facts()
    pairs = list(zip(others, answers, strict=True))
    problems = [f"{host.name}: {text}" for host, answer in pairs for text in _problems(answer, here, interfaces)]
    if problems:
        raise HostsError("\n".join(problems))
    return [
        f"{host.name} has {cores} cores for {host.slots} ranks; that is correct but slower"
        for host, answer in pairs
        if (cores := _facts(answer).cores) < host.slots
    ]


def facts() -> Facts:
    """Of this host."""
    alike = {"Python": sys.version.split()[0], "the sources of the kernels": kernel_sources()[:16]}
    for package in PACKAGES:
        try:
            alike[package] = version(package)
        except PackageNotFoundError:
            alike[package] = "missing"
    try:
        alike["MPI"] = str(find_mpi().version)
    except DistpropError as error:
        alike["MPI"] = str(error)
    return Facts(alike, available_cores().budget, [*own_addresses()])


def _facts(answer: Answer) -> Facts:
    return Facts(**json.loads(answer.output.splitlines()[-1]))


def _problems(answer: Answer, here: Facts, interfaces: Sequence[str]) -> Iterator[str]:
    """What is wrong with a host, and the cure, in words."""
    if answer.code is None:
        yield f"doesn't answer within {ANSWER_S:.0f} s; see whether it is up, and reached by: {answer.command}"
    elif answer.code == REFUSED:
        yield f"{answer.last_words or 'refuses'}; make this work without a question: {answer.command}"
    elif answer.code in NOT_FOUND:
        yield f"there is no {sys.executable}; install distprop there under the same path"
    elif answer.code != 0:
        yield f"{answer.last_words or 'failed'}; install distprop there as it is here, and have {Path.cwd()} there too"
    else:
        there = _facts(answer)
        for name, value in here.alike.items():
            if there.alike.get(name) != value:
                yield f"{name} is {there.alike.get(name)}, here it is {value}; install the same there"
        for name in interfaces:
            if name not in there.interfaces:
                yield (
                    f"has no network interface '{name}' with an IPv4 address, but {', '.join(there.interfaces)}; "
                    "--interface takes names that all hosts have"
                )


if __name__ == "__main__":
    print(json.dumps(asdict(facts())))
