"""Environments for other people's software that a benchmark needs: made once, outside of the checkout."""

import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

from distprop.paths import cache_folder

# The folder of each environment and what is in it. JAX lives alone: it wants its own versions of NumPy and SciPy.
ENVIRONMENTS = {
    "peers": ("torch==2.13.0", "scikit-learn>=1.5"),
    "peers-jax": ("jax>=0.6", "jaxlib>=0.6"),
    "plots": ("matplotlib>=3.9",),
}


@cache
def peer_python(environment: str) -> Path:
    """The interpreter of one of the environments."""
    packages = ENVIRONMENTS[environment]
    folder = cache_folder("benchmarks") / f"{environment}-{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = " ".join(packages)
    if not ready.exists() or ready.read_text() != wanted:
        print(f"installing {wanted} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(command, check=True)
        ready.write_text(wanted)
    return python


def versions_of(*environments: str) -> str:
    """What is installed in these environments of what was asked for: "torch 2.13.0, jax 0.10.1"."""
    program = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    found = []
    for environment in environments:
        names = [package.replace(">", "=").partition("=")[0] for package in ENVIRONMENTS[environment]]
        command = [str(peer_python(environment)), "-c", program, *names]
        found.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    return ", ".join(found)
