"""`distprop doctor`: looks at everything a run needs, here and on other hosts, and names the cure of what is wrong."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

from distprop.errors import DistpropError
from distprop.heartbeat.interfaces import addresses, own_addresses
from distprop.launch.command import mpirun_command
from distprop.launch.cores import available_cores
from distprop.launch.hosts import Host
from distprop.launch.machine import this_machine
from distprop.launch.mpi import find_mpi, library_version
from distprop.launch.networks import check_networks, networks
from distprop.launch.preflight import HostsError, check_hosts
from distprop.launch.processes import start_processes
from distprop.paths import cache_folder

HELLO = "import sys; from mpi4py import MPI; sys.exit(MPI.COMM_WORLD.allreduce(1) != 2)"
HELLO_S = 60.0
PACKAGES = ("numba", "numpy", "mpi4py", "pydantic", "safetensors", "pyarrow")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
VECTOR_FEATURES = ("avx512f", "avx2", "fma", "avx", "asimd")
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One fact, and what to do about it if it is a problem."""

    name: str
    fact: str
    cure: str | None = None

    def __str__(self) -> str:
        mark = "ok   " if self.cure is None else "wrong"
        return f"{mark} {self.name:9} {self.fact}" + (f"; {self.cure}" if self.cure else "")


Check: TypeAlias = Callable[[], Iterator[Finding]]


def doctor(hosts: Sequence[Host] = (), interfaces: Sequence[str] = ()) -> int:
    """Print one line for each thing looked at; return 1 if anything is wrong."""
    here: list[Check] = [_python, _packages, _mpi, _hello, _cores, _processor, _memory, _cache, _disk, _threads]
    healthy = True
    for check in here:
        healthy &= _is_healthy(check)
    if hosts:
        checks = [
            partial(_networks, hosts, interfaces),
            partial(_hosts, hosts, interfaces),
            partial(_messages, hosts, interfaces),
        ]
        healthy &= all(map(_is_healthy, checks))  # the first that finds something wrong is the last
    print("nothing is wrong here" if healthy else "the lines that start with 'wrong' name the cure")
    return 0 if healthy else 1


def _is_healthy(check: Check) -> bool:
    """Print what a check finds."""
    healthy = True
    for finding in _guarded(check):
        print(finding, flush=True)
        healthy &= finding.cure is None
    return healthy


def mpi_works() -> bool:
    """Whether two ranks can be started, which is all that scripts/launch asks of a system's MPI."""
    return all(finding.cure is None for check in (_mpi, _hello) for finding in _guarded(check))


def _guarded(check: Check) -> Iterator[Finding]:
    """What a check finds; its own failure is a finding too."""
    try:
        yield from check()
    except (DistpropError, OSError) as error:
        text, _, cure = str(error).rpartition("; ")
        name = getattr(check, "__name__", "hosts").strip("_")
        yield Finding(name, text or cure, cure if text else "see the message")


def _python() -> Iterator[Finding]:
    cure = "use Python 3.10 or newer" if sys.version_info < (3, 10) else None
    yield Finding("python", f"{platform.python_version()} ({sys.executable})", cure)


def _packages() -> Iterator[Finding]:
    for package in PACKAGES:
        try:
            yield Finding("package", f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding("package", f"{package} is missing", f"pip install {package}")


def _mpi() -> Iterator[Finding]:
    mpi = find_mpi()
    yield Finding("mpi", f"mpi4py uses {library_version()}, which agrees with {mpi.mpirun} ({mpi.version})")


def _hello() -> Iterator[Finding]:
    """Two real ranks that add 1 and 1."""
    began = time.monotonic()
    if problem := run_ranks([sys.executable, "-c", HELLO], 2):
        yield problem
    else:
        yield Finding("mpirun", f"2 ranks answered in {time.monotonic() - began:.1f} s")


def run_ranks(
    program: Sequence[str],
    ranks: int,
    hosts: Sequence[Host] = (),
    interfaces: Sequence[str] = (),
    limit_s: float = HELLO_S,
) -> Finding | None:
    """Run a program as ranks to its end; what is wrong if that fails."""
    mpi = find_mpi()
    between = networks(mpi, hosts, interfaces) if hosts else None
    command = mpirun_command(mpi, program, ranks, hosts, this_machine(), str(Path.cwd()), networks=between)
    cure = f"run this yourself: {command}"
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        processes = start_processes(command, log)
        try:
            code = processes.mpirun.wait(limit_s)
        except subprocess.TimeoutExpired:
            return Finding("mpirun", f"{ranks} ranks did not answer in {limit_s:.0f} s", cure)
        finally:
            processes.end()
        said = log.read_text(errors="replace").split("\n")
    last = next((line for line in reversed(said) if line.strip()), "each rank is alone")
    return Finding("mpirun", f"{ranks} ranks failed with code {code}: {last}", cure) if code else None


def _hosts(hosts: Sequence[Host], interfaces: Sequence[str]) -> Iterator[Finding]:
    """Whether they can take part in a run that is started here."""
    try:
        warnings = check_hosts(hosts, interfaces)
    except HostsError as error:
        for line in str(error).splitlines():
            text, _, cure = line.rpartition("; ")
            yield Finding("host", text, cure)
        return
    for host in hosts:
        yield Finding("host", f"{host.name} answers, and is like this one")
    for warning in warnings:
        yield Finding("host", warning)


def _networks(hosts: Sequence[Host], interfaces: Sequence[str]) -> Iterator[Finding]:
    """By which of this host's networks others are to reach it."""
    check_networks(find_mpi(), interfaces)
    taken = addresses([host.name for host in hosts], interfaces)
    there = {f"{name} ({' '.join(every)})": set(every) <= set(taken) for name, every in own_addresses().items()}
    used, unused = ([text for text, is_used in there.items() if is_used is wanted] for wanted in (True, False))
    yield Finding("networks", f"{', '.join(used) or 'none'} between hosts; not {', '.join(unused) or 'others'}")


def _messages(hosts: Sequence[Host], interfaces: Sequence[str]) -> Iterator[Finding]:
    """How fast they are between hosts, and between two ranks of a host that has two slots or more."""
    places = [Host(host.name, min(host.slots, 2)) for host in hosts]
    ranks = sum(place.slots for place in places)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speeds.json"
        problem = run_ranks([sys.executable, "-m", "distprop.measure", str(file)], ranks, places, interfaces)
        if problem:
            yield problem
            return
        found = json.loads(file.read_text())
    for speed in found["speeds"]:
        one, other = found["hosts"][speed["one"]], found["hosts"][speed["other"]]
        between = f"between {one} and {other}" if one != other else f"on {one}"
        fast = f"{1e6 * speed['latency_s']:,.0f} µs, {speed['bytes_per_s'] / 1e6:,.0f} MB/s each way"
        yield Finding("messages", f"{between}: {fast}")


def _cores() -> Iterator[Finding]:
    cores = available_cores()
    quota = "no quota" if cores.quota is None else f"a quota of {cores.quota:g} cores"
    mask = f"{cores.threads} hardware threads of {cores.physical} cores in the affinity mask"
    yield Finding("cores", f"{cores.budget} for ranks: {mask}, {quota}")


def _processor() -> Iterator[Finding]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.split() for line in lines if line.lower().startswith(("flags", "features"))), [])
    found = [feature for feature in VECTOR_FEATURES if feature in flags]
    yield Finding("processor", f"{platform.machine()}, vector features: {' '.join(found) or 'unknown'}")


def _memory() -> Iterator[Finding]:
    """Ranks on one node share parameters and gradients through /dev/shm."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    small = free < GIB // 4
    cure = "give the container more, such as: docker run --shm-size=1g"
    yield Finding("memory", f"{free / GIB:.1f} GiB free in {folder}", cure if small else None)


def _cache() -> Iterator[Finding]:
    folder = cache_folder("")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        yield Finding("cache", f"{folder}, {size / 2**20:.0f} MiB")
    except OSError as error:
        yield Finding("cache", f"{folder}: {error.strerror}", "set DISTPROP_CACHE to a folder that can be written")


def _disk() -> Iterator[Finding]:
    for folder in dict.fromkeys((Path.cwd(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        cure = "make room: checkpoints and prepared data need it" if free < GIB else None
        yield Finding("disk", f"{free / GIB:.1f} GiB free in {folder}", cure)


def _threads() -> Iterator[Finding]:
    """Not a problem for runs, which set them to 1 for each rank; worth knowing for everything else."""
    values = [f"{name}={os.environ[name]}" for name in THREAD_VARIABLES if name in os.environ]
    yield Finding("threads", f"one for each rank (outside runs: {' '.join(values) or 'no variable is set'})")
