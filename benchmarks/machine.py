"""What a benchmark's figures were measured on, in words: the date, the processor, how busy it was, and versions."""

import importlib.metadata
import os
import platform
from datetime import datetime, timezone
from pathlib import Path

PACKAGES = ("distprop", "numba", "numpy", "mpi4py")


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())
    features = " ".join(sorted(set(" ".join(lines).split()) & {"avx2", "avx512f"}))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    load = f"{os.getloadavg()[0]:.1f}"
    return (
        f"{now}; {model} ({features}), {os.cpu_count()} cores, load {load}; Linux {platform.release()}; "
        f"Python {platform.python_version()}, {versions}"
    )
