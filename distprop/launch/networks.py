"""Which networks MPI's messages between hosts take: those that were asked for, else none that ends within a host."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distprop.errors import UsageError
from distprop.heartbeat.interfaces import check_interfaces, inner_networks
from distprop.launch.hosts import Host
from distprop.launch.mpi import Mpi

# By these a user, or a cluster's administrator, tells MPI what to use. Open MPI refuses to take both.
OPEN_MPI = ("OMPI_MCA_btl_tcp_if_include", "OMPI_MCA_btl_tcp_if_exclude")
OTHERS = ("UCX_NET_DEVICES", "FI_TCP_IFACE", "FI_SOCKETS_IFACE")
IN_A_FILE = re.compile(r"^\s*(btl_tcp_if_(?:in|ex)clude)\s*=", re.MULTILINE)
ALWAYS_EXCLUDED = ("127.0.0.1/8", "sppp")  # Open MPI's own


@dataclass(frozen=True)
class Networks:
    """What the mpirun command needs for it: options, and variables."""

    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


def check_networks(mpi: Mpi, names: Sequence[str]) -> None:
    """UsageError for interfaces that this host doesn't have, or if the user has told MPI itself what to use."""
    check_interfaces(names)
    told = next(_told(mpi), None)
    if told and names:
        raise UsageError(f"--interface {','.join(names)}: MPI is told which networks to use by {told} too; give one")


def networks(mpi: Mpi, hosts: Sequence[Host], names: Sequence[str]) -> Networks:
    """names: of the interfaces to use, which have been checked. What the user has told MPI itself stays so."""
    if any(_told(mpi)):
        return Networks()
    if mpi.version.kind == "Open MPI":
        return open_mpi(mpi, names, inner_networks(host.name for host in hosts))
    return mpich(names)


def open_mpi(mpi: Mpi, names: Sequence[str], inner: Sequence[str]) -> Networks:
    """Where ranks exclude interfaces, a word stands for all names that begin with it. Daemons take whole names, and try
    one address after the other, so nothing is excluded for them. One is enough for them: those of version 5 fail if
    they get several.
    """
    if not names:
        return Networks(variables={OPEN_MPI[1]: ",".join([*ALWAYS_EXCLUDED, *inner])})
    daemons = "OMPI_MCA_oob_tcp_if_include" if mpi.version.major < 5 else "PRTE_MCA_prte_if_include"
    return Networks(variables={OPEN_MPI[0]: ",".join(names), daemons: names[0]})


def mpich(names: Sequence[str]) -> Networks:
    """UCX leaves out bridges, as docker0 is one, by itself; libfabric can only be told what to take."""
    if not names:
        return Networks()
    ucx, *libfabric = OTHERS
    return Networks(("-iface", names[0]), {ucx: ",".join(names), **dict.fromkeys(libfabric, names[0])})


def _told(mpi: Mpi) -> Iterator[str]:
    """Where MPI is told which networks to use."""
    if mpi.version.kind != "Open MPI":
        yield from (name for name in OTHERS if name in os.environ)
        return
    yield from (name for name in OPEN_MPI if name in os.environ)
    name = "openmpi-mca-params.conf"
    folders = (mpi.mpirun.resolve().parent.parent / "etc", mpi.mpirun.parent.parent / "etc", Path("/etc/openmpi"))
    for file in (Path("~/.openmpi/mca-params.conf").expanduser(), *(folder / name for folder in folders)):
        if file.is_file() and (found := IN_A_FILE.search(file.read_text(encoding="utf-8", errors="replace"))):
            yield f"{found[1]} in {file}"
