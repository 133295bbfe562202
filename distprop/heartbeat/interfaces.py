"""The network interfaces of this host, and which of them lead to other hosts."""

import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress

from distprop.errors import UsageError

# How names of networks of containers and virtual machines begin. They end within a host, and often have the same
# addresses on all hosts: who believes that others are reached by them talks to itself, or to nobody.
INNER = (
    "docker", "br-", "veth", "cni", "flannel", "cali", "podman", "lxc", "lxd", "virbr", "vnet", "vboxnet", "vmnet",
)  # fmt: skip


def parse_interfaces(text: str) -> tuple[str, ...]:
    """The names in "eth0,eth1"."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def check_interfaces(names: Sequence[str]) -> None:
    """UsageError for a name that no interface of this host has, or none with an IPv4 address."""
    there = own_addresses()
    for name in names:
        if name not in there:
            known = ", ".join(f"{one} ({' '.join(found)})" for one, found in there.items())
            raise UsageError(
                f"--interface or launch.interface: this host has no network interface '{name}' with an IPv4 address; "
                f"give one of {known}"
            )


def own_addresses() -> dict[str, list[str]]:
    """This host's IPv4 addresses, by the name of their interface."""
    import psutil

    found = {
        name: [one.address for one in every if one.family == socket.AF_INET]
        for name, every in psutil.net_if_addrs().items()
    }
    return {name: every for name, every in found.items() if every}


def inner_networks(hosts: Iterable[str]) -> tuple[str, ...]:
    """Beginnings of the names of interfaces that lead to none of these hosts: a virtual machine may be one of them."""
    used = _used(hosts)
    return tuple(start for start in INNER if not any(name.startswith(start) for name in used))


def _used(hosts: Iterable[str]) -> set[str]:
    """The interfaces by which packets to these hosts would leave this one."""
    sources = set()
    for host in hosts:
        with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing
            sources.add(probe.getsockname()[0])
    return {name for name, every in own_addresses().items() if sources & set(every)}


def addresses(hosts: Iterable[str] = (), only: Sequence[str] = ()) -> list[str]:
    """How ranks on these hosts, or on any, may reach this one: by its interfaces `only`; else by its name, and by all
    of its networks that don't end within it.
    """
    there = own_addresses()
    if only:
        return [address for name in only for address in there.get(name, ())]
    inner = inner_networks(hosts)
    outer = [every for name, every in there.items() if not name.startswith(inner)]
    return [socket.gethostname(), *(one for every in outer for one in every if not one.startswith("127."))]
