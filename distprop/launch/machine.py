"""What the mpirun command depends on of the machine that it is started on."""

import ctypes
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distprop.launch.cores import available_cores


@dataclass(frozen=True)
class Machine:
    """Facts, as plain values, so that a command can be built for any machine."""

    cores: int  # ranks that can compute at the same time
    root: bool = False  # whether the user is root
    copies: bool = True  # whether a process may read another one's memory
    nodes: int = 1  # nodes that a scheduler has given to this job: mpirun finds them by itself
    loopback: str | None = "lo"  # the network interface that doesn't leave the machine


def this_machine() -> Machine:
    """The facts about this machine."""
    return Machine(
        cores=available_cores().budget,
        root=os.geteuid() == 0,
        copies=_copies_allowed(),
        nodes=allocated_nodes(os.environ),
        loopback=_loopback(),
    )


def allocated_nodes(environment: Mapping[str, str]) -> int:
    """Nodes that a scheduler has given to this job; 1 without a scheduler."""
    nodes = environment.get("SLURM_JOB_NUM_NODES") or environment.get("PBS_NUM_NODES") or "1"
    return int(nodes) if nodes.isdigit() else 1


def allocated_slots(environment: Mapping[str, str]) -> int:
    """Ranks that a scheduler has made room for: its tasks, or the processors if no tasks were asked for; else 0."""
    tasks = environment.get("SLURM_NTASKS") or environment.get("PBS_NP") or "0"
    if tasks == "0" and allocated_nodes(environment) > 1:
        return _total(environment.get("SLURM_JOB_CPUS_PER_NODE", ""))
    return int(tasks) if tasks.isdigit() else 0


def _total(counts: str) -> int:
    """The sum of Slurm's "16(x3),8"."""
    return sum(int(count) * int(times or 1) for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", counts))


def _copies_allowed() -> bool:
    """Whether process_vm_readv is allowed, tried on ourselves: the seccomp filters of some containers forbid it."""
    try:
        read = ctypes.CDLL(None, use_errno=True).process_vm_readv
    except (OSError, AttributeError):  # not on Linux
        return True
    source, target = ctypes.create_string_buffer(b"x", 1), ctypes.create_string_buffer(1)
    regions = [(ctypes.c_size_t * 2)(ctypes.addressof(buffer), 1) for buffer in (target, source)]
    copied: int = read(os.getpid(), regions[0], ctypes.c_ulong(1), regions[1], ctypes.c_ulong(1), ctypes.c_ulong(0))
    return copied == 1 and _ptrace_scope() < 2


def _ptrace_scope() -> int:
    """Both MPIs manage with scope 1 (only parents may read); from 2 on only root may."""
    try:
        return int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        return 0


def _loopback() -> str | None:
    return next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
