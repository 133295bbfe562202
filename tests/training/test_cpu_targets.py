"""The same bits from code compiled for any CPU: random numbers, weights, masks, norms and every optimizer's update."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite.binding import get_host_cpu_features

DIGEST = Path(__file__).with_name("digest_of_kernels.py")
TARGETS = {"x86-64": (), "haswell": ("avx2", "fma"), "skylake-avx512": ("avx512f", "avx512dq", "avx512bw", "avx512vl")}


def digest(**environment):
    finished = subprocess.run(
        [sys.executable, DIGEST], env=os.environ | environment, capture_output=True, text=True, timeout=250, check=True
    )
    return finished.stdout.split()


@pytest.fixture(scope="module")
def own_digest():
    return digest()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the targets are x86-64 CPUs")
@pytest.mark.parametrize(
    "target", ["x86-64", *(pytest.param(name, marks=pytest.mark.long) for name in ("haswell", "skylake-avx512"))]
)
def test_every_cpu_target_gives_the_same_bits(target, own_digest):
    host = get_host_cpu_features()
    if not all(host.get(feature) for feature in TARGETS[target]):
        pytest.skip(f"this CPU can't run code for {target}")
    # Without NUMBA_CPU_FEATURES, Numba adds all features of this CPU to the target's.
    assert digest(NUMBA_CPU_NAME=target, NUMBA_CPU_FEATURES="") == own_digest
