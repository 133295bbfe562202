"""Hosts on one machine: network namespaces around a bridge, for benchmarks and tests of several machines.

Each host has a network and a host name of its own and knows the others by name; cores are shared, and so are files,
except for one folder if asked for. Links may be slow. mpirun reaches the other hosts by a script that stands for ssh.
Needs Linux, root, iproute2 and util-linux.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NAMES = Path("/etc/netns")  # `ip netns exec NAME` shows /etc/netns/NAME/hosts as /etc/hosts
DOCKER = "172.17.0.1/16"  # what Docker gives to docker0 of every host
OURS = re.compile(r"dp(\d+)(?:n\d+|bridge)")  # dp1234n1: of process 1234
TOOLS = ("ip", "tc", "unshare")
BURST_BYTES = 1 << 18  # of a slow link; more than the largest packet

# With a folder of its own where one of the first host's is; `ip netns exec` has made mounts the process's own affair.
ENTER = 'echo "$0" >/proc/sys/kernel/hostname; [ ! -d "OWN/$0" ] || mount --bind "OWN/$0" "PRIVATE" && exec "$@"'
AGENT = """#!/bin/sh
# Stands for ssh: runs a command, given as ssh takes it, on a host of this machine.
[ "$1" = -x ] && shift  # MPICH wants no X11
host=$1
shift
ip -n "$host" link show dev eth0 up | grep -q eth0 || exit 255  # its cable is out
exec ip netns exec "$host" unshare --uts sh -c 'ENTER' "$host" sh -c "$*"
"""


@dataclass(frozen=True)
class Hosts:
    """Hosts that exist within the context of `hosts`. agent: the script that stands for ssh.

    own: the folders by which hosts other than the first see a private one, by their names.
    """

    names: tuple[str, ...]
    agent: Path
    own: Path
    enter: str

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` on a host."""
        return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", self.enter, name, *command]

    @property
    def environment(self) -> Mapping[str, str]:
        """What Open MPI and MPICH want to know on the host where mpirun runs."""
        agent = str(self.agent)
        started = {"PRTE_MCA_plm_ssh_agent": agent, "HYDRA_LAUNCHER": "ssh", "HYDRA_LAUNCHER_EXEC": agent}
        return started | {"UCX_TLS": "tcp,self"}  # else MPICH finds that its ranks could share memory

    def processes(self, name: str) -> list[int]:
        """The processes that run on a host."""
        return _processes(name)

    def cut(self, name: str) -> None:
        """Take a host's link down."""
        _run("ip", "-n", name, "link", "set", "eth0", "down")

    def mend(self, name: str) -> None:
        """Bring its link up again."""
        _run("ip", "-n", name, "link", "set", "eth0", "up")


def missing() -> str | None:
    """Why there can be no hosts here; None if there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"not installed: {', '.join(tools)}" if tools else None


@contextlib.contextmanager
def hosts(
    count: int, rate_mbit: float | None = None, private: Path | None = None, *, docker: bool = False
) -> Iterator[Hosts]:
    """Make hosts, each with a link of so many Mbit/s in each direction; None: as fast as the machine can.

    private: a folder that only the first one shares with us; each of the others has one of its own there.
    docker: each also has an interface docker0, which leads nowhere, and has the same address on all of them.

    At the end their processes are killed and nothing of them is left, also after SIGTERM. What a killed program has
    left is removed by the next one.
    """
    _remove_orphans()
    bridge, names = f"dp{os.getpid()}bridge", [f"dp{os.getpid()}n{n}" for n in range(1, count + 1)]
    addresses = [f"10.91.0.{n}" for n in range(1, count + 1)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_exit_on_sigterm())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in (bridge, *names):
            stack.callback(_remove, name)
            _run("ip", "netns", "add", name)
        _run("ip", "-n", bridge, "link", "add", "bridge", "type", "bridge")
        _run("ip", "-n", bridge, "link", "set", "bridge", "up")
        for name, address in zip(names, addresses, strict=True):
            _tell_names(name, names, addresses)
            _connect(name, address, bridge, rate_mbit)
            if docker:
                _add_docker(name)
        own, agent = folder / "own", folder / "agent"
        for name in names[1:] if private else ():
            (own / name).mkdir(parents=True)
        enter = ENTER.replace("OWN", str(own)).replace("PRIVATE", str(private))
        agent.write_text(AGENT.replace("ENTER", enter))
        agent.chmod(0o755)
        yield Hosts(tuple(names), agent, own, enter)


def _connect(name: str, address: str, bridge: str, rate_mbit: float | None) -> None:
    """A pair of interfaces: eth0 of the host, and one with the host's name at the bridge."""
    _run("ip", "-n", bridge, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    _run("ip", "-n", bridge, "link", "set", name, "master", "bridge", "up")
    _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "eth0")
    for interface in ("lo", "eth0"):
        _run("ip", "-n", name, "link", "set", interface, "up")
    if rate_mbit:
        for space, interface in ((name, "eth0"), (bridge, name)):  # what leaves the host, and what comes to it
            bucket = ["rate", f"{rate_mbit}mbit", "burst", str(BURST_BYTES), "latency", "100ms"]
            _run("tc", "-n", space, "qdisc", "add", "dev", interface, "root", "tbf", *bucket)


def _add_docker(name: str) -> None:
    """As Docker leaves it when a container runs."""
    _run("ip", "-n", name, "link", "add", "docker0", "type", "bridge")
    _run("ip", "-n", name, "address", "add", DOCKER, "dev", "docker0")
    _run("ip", "-n", name, "link", "add", "veth0", "type", "veth", "peer", "name", "inside")
    _run("ip", "-n", name, "link", "set", "veth0", "master", "docker0")
    for interface in ("docker0", "veth0", "inside"):
        _run("ip", "-n", name, "link", "set", interface, "up")


def _tell_names(name: str, names: Sequence[str], addresses: Sequence[str]) -> None:
    folder = NAMES / name
    folder.mkdir(parents=True)
    lines = ["127.0.0.1 localhost", *(f"{address} {other}" for other, address in zip(names, addresses, strict=True))]
    (folder / "hosts").write_text("\n".join(lines) + "\n")


def _processes(name: str) -> list[int]:
    done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def _remove(name: str) -> None:
    for process in _processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    shutil.rmtree(NAMES / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # others have hosts too
        NAMES.rmdir()


def _remove_orphans() -> None:
    """Hosts of programs that have been killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        ours = OURS.fullmatch(line.split()[0])
        if ours and not Path(f"/proc/{ours[1]}").exists():
            _remove(line.split()[0])


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextlib.contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """SIGTERM leaves contexts as other errors do; only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
