"""Environments for other people's software that a benchmark compares with: made once, outside of the checkout."""

import subprocess
import sys
import venv
from pathlib import Path

from distprop.paths import cache_folder

# The folder of each environment and what is in it. JAX lives alone: it wants its own versions of NumPy and SciPy.
ENVIRONMENTS = {
    "peers": ("torch==2.13.0", "scikit-learn>=1.5"),
    "peers-jax": ("jax>=0.10", "jaxlib>=0.10"),
}


def peer_python(environment: str = "peers") -> Path:
    """The interpreter of one of the environments: "peers" (PyTorch for CPUs, scikit-learn) or "peers-jax"."""
    packages = ENVIRONMENTS[environment]
    folder = cache_folder("benchmarks") / f"{environment}-{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(command, check=True)
        ready.touch()
    return python
