"""The mpirun command for each MPI, host list and machine."""

from pathlib import Path

import pytest

from distprop.errors import UsageError
from distprop.launch.command import mpirun_command
from distprop.launch.hosts import Host
from distprop.launch.machine import Machine
from distprop.launch.mpi import Mpi, Version
from distprop.launch.networks import check_networks, mpich, networks, open_mpi

FIVE = Mpi(Path("/opt/five/bin/mpirun"), Version("Open MPI", 5, 0))
FOUR = Mpi(Path("/usr/bin/mpirun"), Version("Open MPI", 4, 1))
MPICH = Mpi(Path("/opt/mpich/bin/mpirun"), Version("MPICH", 5, 0))
INTEL = Mpi(Path("/opt/intel/bin/mpirun"), Version("Intel MPI", 2021, 9))
EVERY = [FIVE, FOUR, MPICH, INTEL]
PROGRAM = ["python", "-m", "work"]
SMALL = Machine(4)


def build(mpi, ranks=2, hosts=(), machine=SMALL, folder="/home/me"):
    return mpirun_command(mpi, PROGRAM, ranks, hosts, machine, folder, {"DISTPROP_LAUNCHED": "1"})


@pytest.mark.parametrize(
    ("mpi", "expected"),
    [
        (FIVE, "/opt/five/bin/mpirun -n 2 --map-by slot:OVERSUBSCRIBE --bind-to none -wdir /home/me python -m work"),
        (FOUR, "/usr/bin/mpirun -n 2 --oversubscribe --bind-to none -wdir /home/me python -m work"),
        (MPICH, "/opt/mpich/bin/mpirun -n 2 -launcher fork -iface lo -wdir /home/me python -m work"),
        (INTEL, "/opt/intel/bin/mpirun -n 2 -launcher fork -iface lo -wdir /home/me python -m work"),
    ],
)
def test_on_one_machine_the_network_is_not_touched(mpi, expected):
    assert " ".join(build(mpi).arguments) == expected


@pytest.mark.parametrize(
    ("mpi", "expected"),
    [
        (FIVE, {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,sm"}),
        (FOUR, {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self,vader"}),
        (MPICH, {}),
    ],
)
def test_ranks_have_one_thread_and_the_variables_of_their_mpi(mpi, expected):
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    assert build(mpi).environment == {"DISTPROP_LAUNCHED": "1", "PYTHONSAFEPATH": "1"} | threads | expected


@pytest.mark.parametrize(
    ("mpi", "expected"),
    [
        (
            FIVE,
            "mpirun -n 4 --host a:3,b:1 --map-by slot:OVERSUBSCRIBE -wdir /home/me "
            "-x DISTPROP_LAUNCHED -x OMP_NUM_THREADS",
        ),
        (FOUR, "mpirun -n 4 --host a:3,b:1 --oversubscribe -wdir /home/me -x DISTPROP_LAUNCHED -x OMP_NUM_THREADS"),
        (MPICH, "mpirun -n 4 -hosts a:3,b:1 -wdir /home/me -genv DISTPROP_LAUNCHED 1 -genv OMP_NUM_THREADS 1"),
    ],
)
def test_other_hosts_get_the_variables_and_keep_their_network(mpi, expected):
    command = build(mpi, 4, [Host("a", 3), Host("b", 1)])
    assert expected in " ".join(command.arguments)
    assert "OMPI_MCA_btl" not in command.environment and "fork" not in command.arguments


@pytest.mark.parametrize("mpi", EVERY, ids=str)
def test_nodes_of_a_scheduler_keep_their_network(mpi):
    command = build(mpi, 64, machine=Machine(4, nodes=4))
    assert "OMPI_MCA_btl" not in command.environment and "-iface" not in command.arguments


@pytest.mark.parametrize(
    ("mpi", "options", "variables"),
    [
        (FIVE, [], {"OMPI_MCA_btl_tcp_if_include": "ib0,eth0", "PRTE_MCA_prte_if_include": "ib0"}),
        (FOUR, [], {"OMPI_MCA_btl_tcp_if_include": "ib0,eth0", "OMPI_MCA_oob_tcp_if_include": "ib0"}),
        (MPICH, ["-iface", "ib0"], {"UCX_NET_DEVICES": "ib0,eth0", "FI_TCP_IFACE": "ib0", "FI_SOCKETS_IFACE": "ib0"}),
    ],
)
def test_between_hosts_each_mpi_is_told_its_interfaces_and_never_what_to_exclude_too(mpi, options, variables):
    names = ["ib0", "eth0"]
    wanted = open_mpi(mpi, names, ["docker"]) if mpi is not MPICH else mpich(names)
    command = mpirun_command(mpi, PROGRAM, 2, [Host("a", 1), Host("b", 1)], SMALL, "/home/me", networks=wanted)
    assert variables.items() <= command.environment.items()
    assert " ".join(options) in " ".join(command.arguments)
    assert not any("exclude" in name for name in command.environment)
    alone = mpirun_command(mpi, PROGRAM, 2, (), SMALL, "/home/me", networks=wanted)
    assert not variables.keys() & alone.environment.keys() and "ib0" not in alone.arguments


def test_open_mpi_excludes_networks_within_a_host_unless_a_user_has_decided(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    hosts, excluded = [Host("localhost", 1)], "OMPI_MCA_btl_tcp_if_exclude"
    words = networks(FIVE, hosts, ()).variables[excluded].split(",")
    assert {"127.0.0.1/8", "docker", "br-", "veth", "virbr"} <= set(words)
    monkeypatch.setenv("OMPI_MCA_btl_tcp_if_include", "eth7")
    assert networks(FIVE, hosts, ()).variables == {}
    with pytest.raises(UsageError, match=r"--interface lo: .* OMPI_MCA_btl_tcp_if_include too"):
        check_networks(FIVE, ["lo"])
    monkeypatch.delenv("OMPI_MCA_btl_tcp_if_include")
    (tmp_path / ".openmpi").mkdir()
    (tmp_path / ".openmpi" / "mca-params.conf").write_text("# ours\nbtl_tcp_if_include = ib0\n")
    assert networks(FIVE, hosts, ()).variables == {}


@pytest.mark.parametrize("mpi", [FIVE, FOUR], ids=["5", "4"])
def test_root_is_allowed(mpi):
    assert "--allow-run-as-root" in build(mpi, machine=Machine(4, root=True)).arguments
    assert "--allow-run-as-root" not in build(mpi).arguments


@pytest.mark.parametrize("ranks", [1, 4, 9])
def test_ranks_on_one_machine_are_not_bound(ranks):
    words = build(FIVE, ranks).arguments
    assert words[words.index("--bind-to") + 1] == "none"
    assert "-bind-to" not in build(MPICH, ranks).arguments


def test_where_memory_of_other_processes_is_closed_single_copies_are_off():
    machine = Machine(4, copies=False)
    assert build(FIVE, machine=machine).environment["OMPI_MCA_smsc"] == "^cma"
    assert build(FOUR, machine=machine).environment["OMPI_MCA_btl_vader_single_copy_mechanism"] == "none"
    assert "OMPI_MCA_smsc" not in build(FIVE).environment


def test_the_printed_command_survives_a_shell(run_command, tmp_path):
    folder = tmp_path / "it's a folder; rm -rf $HOME"
    command = build(Mpi(Path("/bin/echo"), Version("MPICH", 5, 0)), folder=str(folder))
    assert str(folder) in run_command(["sh", "-c", str(command)]).stdout
