"""Where the ranks of a run shall be: how many, and on which hosts."""

import re
from dataclasses import dataclass
from pathlib import Path

from distprop.errors import UsageError

HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\]")
CURE = "give hosts and how many ranks each takes, such as a:2,b:2"


@dataclass(frozen=True)
class Host:
    name: str
    slots: int


@dataclass(frozen=True)
class Place:
    """What was asked for. No ranks: as many as the hosts have slots, or one a core. No hosts: this machine.

    interfaces: networks that MPI and heartbeats use between hosts; none: all that don't end within a host.
    max_restarts: how often ranks that have died are started again; min_ranks: how many must be left for that, when
    hosts are lost. None: as the configuration says.
    """

    ranks: int | None = None
    hosts: tuple[Host, ...] = ()
    max_restarts: int | None = None
    min_ranks: int | None = None
    interfaces: tuple[str, ...] = ()

    @property
    def slots(self) -> int:
        return sum(host.slots for host in self.hosts)


def parse_hosts(text: str) -> tuple[Host, ...]:
    """The hosts of "a:2,b:2"; one without a number has one slot. UsageError names the part that is wrong."""
    return _distinct([_host(part.strip(), "--hosts") for part in text.split(",")], "--hosts")


def parse_hostfile(path: Path) -> tuple[Host, ...]:
    """The hosts of a file: "a slots=2" (Open MPI's form) or "a:2" (MPICH's), one a line, # starts a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: can't read this hostfile: {getattr(error, 'strerror', None) or 'not UTF-8'}"
        ) from error
    hosts = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0]
        if words.strip():
            hosts.append(_host(re.sub(r"\s+slots\s*=\s*", ":", words.strip()), f"{path}:{number}"))
    if not hosts:
        raise UsageError(f"{path}: no host in this hostfile; write one a line, such as: a slots=2")
    return _distinct(hosts, str(path))


def _host(text: str, where: str) -> Host:
    name, _, slots = text.rpartition(":") if re.search(r":\d*$", text) else (text, "", "1")
    if not HOST.fullmatch(name) or not slots.isdigit() or int(slots) < 1:
        raise UsageError(f"{where}: '{text}' is not a host with a number of ranks; {CURE}")
    return Host(name, int(slots))


def _distinct(hosts: list[Host], where: str) -> tuple[Host, ...]:
    names = [host.name for host in hosts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{where}: host '{name}' is named twice; give it once, with all its ranks")
    return tuple(hosts)
