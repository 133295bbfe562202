"""A fixture that runs a test file as a script, compiled for another CPU."""

import sys
from collections.abc import Callable

import pytest
from llvmlite import binding

NEEDS = {
    "x86-64": (),
    "haswell": ("avx2", "fma"),
    "znver3": ("avx2", "vaes"),
    "skylake-avx512": ("avx512vl", "avx512dq"),
}


@pytest.fixture
def output_on(run_command) -> Callable[[str, str], str]:
    """Call it with a CPU's name and a script; gives what it prints, or skips if this CPU can't run the code."""

    def run(cpu: str, script: str) -> str:
        features = binding.get_host_cpu_features()
        lacking = [feature for feature in NEEDS[cpu] if not features.get(feature)]
        if lacking:
            pytest.skip(f"this CPU lacks {', '.join(lacking)}")
        environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
        done = run_command([sys.executable, script], environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
