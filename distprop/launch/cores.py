"""How many cores this process may really use: the affinity mask, cut by the quotas of its control groups."""

import os
from dataclasses import dataclass
from pathlib import Path

# Version 2, version 2 beside version 1, and the two names of version 1's folder.
GROUP_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified", "sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct")


@dataclass(frozen=True)
class Cores:
    """Hardware threads in the affinity mask, physical cores among them, and the quota in cores (None: no limit)."""

    threads: int
    physical: int
    quota: float | None

    @property
    def budget(self) -> int:
        """Ranks that can compute at the same time, each with a physical core to itself; at least 1."""
        return self.physical if self.quota is None else max(1, min(self.physical, int(self.quota)))


def available_cores(root: Path = Path("/")) -> Cores:
    """The cores of this process; `root` stands for the root of the file system."""
    cpus = _affinity()
    return Cores(len(cpus), _physical(cpus, root), _quota(root))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical(cpus: set[int], root: Path) -> int:
    """Cores behind these hardware threads. Threads of one core list the same siblings."""
    folder = root / "sys/devices/system/cpu"
    return len({_read(folder / f"cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in cpus})


def _quota(root: Path) -> float | None:
    """The smallest quota of this process's group and the groups around it, in cores."""
    quotas = [_group_quota(folder) for folder in _groups(root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(root: Path) -> set[Path]:
    """Folders of all groups around this process. A container sees its own as the root, so the root always counts."""
    folders = {root / mount for mount in GROUP_MOUNTS}
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            path = Path(group.lstrip("/"))
            folders |= {root / mount / part for mount in GROUP_MOUNTS for part in (path, *path.parents)}
    return folders


def _group_quota(folder: Path) -> float | None:
    """Version 2 writes "quota period" or "max period" in one file, version 1 two files with -1 for no limit."""
    both = _read(folder / "cpu.max")
    if both is not None:
        quota, period = both.split()
    else:
        quota, period = _read(folder / "cpu.cfs_quota_us") or "-1", _read(folder / "cpu.cfs_period_us") or "100000"
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
