"""The mpirun command of a run, and the variables that belong to it. Pure: the same arguments give the same command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from distprop.launch.hosts import Host
from distprop.launch.machine import Machine
from distprop.launch.mpi import Mpi
from distprop.launch.networks import Networks

# A rank has one thread, and takes no module from the working directory (known to Python 3.11 and newer).
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
RANK_VARIABLES = {**ONE_THREAD, "PYTHONSAFEPATH": "1"}


@dataclass(frozen=True)
class Command:
    """A command and the variables to add to its environment."""

    arguments: tuple[str, ...]
    environment: dict[str, str]

    def __str__(self) -> str:
        """As it can be pasted into a shell."""
        variables = [f"{name}={quote(value)}" for name, value in self.environment.items()]
        return " ".join(["env", *variables, *map(quote, self.arguments)])


def mpirun_command(
    mpi: Mpi, program: Sequence[str], ranks: int, hosts: Sequence[Host], machine: Machine, folder: str,
    variables: Mapping[str, str] | None = None, networks: Networks | None = None,
) -> Command:  # fmt: skip
    """Start `program` as `ranks` ranks in `folder`, on `hosts` or on this machine, with these variables.

    networks: between several hosts.
    """
    build = _open_mpi if mpi.version.kind == "Open MPI" else _mpich
    local = not hosts and machine.nodes == 1
    options, of_mpi = build(mpi, local, machine)
    where = [_host_option(mpi), ",".join(f"{host.name}:{host.slots}" for host in hosts)] if hosts else []
    if networks and not local:
        options, of_mpi = [*options, *networks.options], {**of_mpi, **networks.variables}
    environment = {**(variables or {}), **RANK_VARIABLES, **of_mpi}
    forwarded = [] if local else _forward(mpi, environment)
    head = [str(mpi.mpirun), "-n", str(ranks), *where, *options, "-wdir", folder, *forwarded]
    return Command((*head, *program), environment)


def _open_mpi(mpi: Mpi, local: bool, machine: Machine) -> tuple[list[str], dict[str, str]]:
    old = mpi.version.major < 5
    variables: dict[str, str] = {}
    options = ["--allow-run-as-root"] if machine.root else []
    # Only a permission: mpirun counts slots by its own rules, we have counted the cores. Without the word "slot", Open
    # MPI 5 would put all ranks on the first host.
    options += ["--oversubscribe"] if old else ["--map-by", "slot:OVERSUBSCRIBE"]
    if local:
        # Without these, MPI_Init searches for networks for a second.
        variables |= {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader" if old else "self,sm"}
        # Unbound: binding gained nothing measurable, and two runs would be bound to the same first cores.
        options += ["--bind-to", "none"]
    else:
        # Send, in place, and never put: a put is asked for, and that waits behind what is sent the other way. Links of
        # 500 Mbit/s, used both ways at once, carried 31 MB/s with puts, and 52 to 57 MB/s without them.
        variables["OMPI_MCA_btl_tcp_flags"] = "9"
    if not machine.copies:
        variables |= {"OMPI_MCA_btl_vader_single_copy_mechanism": "none"} if old else {"OMPI_MCA_smsc": "^cma"}
    return options, variables


def _mpich(mpi: Mpi, local: bool, machine: Machine) -> tuple[list[str], dict[str, str]]:
    options = ["-launcher", "fork"] if local else []
    if local and machine.loopback:
        options += ["-iface", machine.loopback]
    return options, {}


def _host_option(mpi: Mpi) -> str:
    return "--host" if mpi.version.kind == "Open MPI" else "-hosts"


def _forward(mpi: Mpi, environment: dict[str, str]) -> list[str]:
    """Options that set the variables on other hosts too. Open MPI carries its own ones there by itself."""
    if mpi.version.kind == "Open MPI":
        return [word for name in environment if not name.startswith(("OMPI_", "PRTE_")) for word in ("-x", name)]
    return [word for name, value in environment.items() for word in ("-genv", name, value)]
