"""The budget of cores, from file systems made for the purpose."""

import os

import pytest

from distprop.launch.cores import Cores, available_cores


@pytest.fixture
def affinity(monkeypatch):
    """Call it with the hardware threads of the affinity mask."""
    return lambda *cpus: monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cpus), raising=False)


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


V2 = {"proc/self/cgroup": "0::/a.slice/b.scope"}
V1 = {"proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/docker/7\n0::/"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (V2 | {"sys/fs/cgroup/a.slice/b.scope/cpu.max": "max 100000"}, None),
        (V2 | {"sys/fs/cgroup/a.slice/b.scope/cpu.max": "250000 100000"}, 2.5),
        (V2 | {"sys/fs/cgroup/a.slice/cpu.max": "150000 100000"}, 1.5),
        (
            V2
            | {
                "sys/fs/cgroup/a.slice/cpu.max": "300000 100000",
                "sys/fs/cgroup/a.slice/b.scope/cpu.max": "700000 100000",
            },
            3.0,
        ),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        ({"proc/self/cgroup": "0::/../outside", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2.0),
        (
            V1
            | {
                "sys/fs/cgroup/cpu,cpuacct/docker/7/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/docker/7/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, None),
        (V1 | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "20000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "10000"}, 2.0),
    ],
)
def test_the_smallest_quota_of_the_groups_around_counts(tmp_path, files, quota):
    write(tmp_path, files)
    assert available_cores(tmp_path).quota == quota


def test_hardware_threads_of_one_core_are_one_core(tmp_path, affinity):
    write(
        tmp_path,
        {
            f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 3},{cpu % 3 + 3}"
            for cpu in range(6)
        },
    )
    affinity(0, 1, 3, 4, 5)
    assert available_cores(tmp_path) == Cores(threads=5, physical=3, quota=None)


def test_without_a_topology_every_hardware_thread_is_a_core(tmp_path, affinity):
    affinity(2, 5, 7)
    assert available_cores(tmp_path).budget == 3


@pytest.mark.parametrize(("quota", "budget"), [(None, 8), (64.0, 8), (3.9, 3), (1.0, 1), (0.2, 1)])
def test_a_budget_is_whole_cores_and_at_least_one(quota, budget):
    assert Cores(16, 8, quota).budget == budget


def test_this_machine_has_cores():
    assert 1 <= available_cores().budget <= available_cores().threads <= (os.cpu_count() or 1)
