"""Environments for other people's software that a benchmark compares with: made once, outside of the checkout."""

import subprocess
import sys
import venv
from pathlib import Path

from distprop.paths import cache_folder

PACKAGES = ("torch==2.13.0", "scikit-learn>=1.5")


def peer_python() -> Path:
    """The interpreter of an environment that holds PyTorch (for CPUs) and scikit-learn."""
    folder = cache_folder("benchmarks") / f"peers-{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"installing {', '.join(PACKAGES)} into {folder}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        command = [python, "-m", "pip", "install", "--quiet", *PACKAGES]
        subprocess.run(command, check=True)
        ready.touch()
    return python
