"""How long distprop takes to answer, and to start: python benchmarks/startup.py [--cold] [--quick] [--json FILE]

Prints the time of `distprop --help`, best and median of ten, and for a few starts of examples/digits.toml on 2 ranks
the time until mpirun is started, until the ranks have initialised MPI, and until the first step of training is done.
With --cold also for a start with an empty cache, which compiles. The yardstick, taken between the starts, is the time
in which two Pythons beside each other import Numba: on a slow or busy machine all of this is slower alike.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from report import Figure, Report, figure, parser_of

DISTPROP = (sys.executable, "-m", "distprop.cli")
DIGITS = Path(__file__).parent.parent / "examples" / "digits.toml"
LIMIT_S = 300.0
POLL_S = 0.002
WARM_S, COLD_S = 1.5, 30.0  # goals
ABOUT = (
    "Seconds until `distprop --help` has answered, and until mpirun is started, MPI is initialised and the first step "
    "of examples/digits.toml on 2 ranks is done."
)


def seconds_of_help() -> float:
    began = time.perf_counter()
    subprocess.run([*DISTPROP, "--help"], check=True, capture_output=True, timeout=LIMIT_S)
    return time.perf_counter() - began


def seconds_of_importing() -> float:
    began = time.perf_counter()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(subprocess.Popen([sys.executable, "-c", "import numba"]))
    return time.perf_counter() - began


def start(run: Path, cache: Path | None = None) -> list[float]:
    """Seconds until mpirun is started, the ranks have initialised MPI, and the first step is done."""
    options = ["--run", str(run), "--set", "training.log_every=1", "--set", "training.epochs=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} | ({"DISTPROP_CACHE": str(cache)} if cache else {})
    began = time.perf_counter()
    with subprocess.Popen([*DISTPROP, "train", str(DIGITS), "-n", "2", *options], env=environment,
                          stdout=subprocess.DEVNULL) as process:  # fmt: skip
        events = [lambda: (run / "logs" / "mpirun.log").exists(), lambda: _phase(run) is not None, lambda: _steps(run)]
        seconds = [_wait(process, event) - began for event in events]
        if process.wait(LIMIT_S) != 0:
            raise SystemExit("the training failed")
    return seconds


def _wait(process: "subprocess.Popen[bytes]", event: Callable[[], object]) -> float:
    """When the event has come. A process that ends without it is waited for, and has failed."""
    while not event():
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue
        if not event():
            raise SystemExit("the training ended before its first step")
    return time.perf_counter()


def _phase(run: Path) -> str | None:
    status = run / "status.json"
    return str(json.loads(status.read_text())["phase"]) if status.exists() else None


def _steps(run: Path) -> bool:
    metrics = run / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0


def _line(name: str, seconds: list[float]) -> str:
    return "".join([f"{name:12}", *(f"{value:>15.2f} s" for value in seconds)])


def main() -> None:
    parser = parser_of(__doc__, "two starts, a warm one and the one before it")
    parser.add_argument("--cold", action="store_true", help="also start once with an empty cache")
    parser.add_argument("--starts", type=int, default=5)
    options = parser.parse_args()
    count = 1 if options.quick else options.starts
    answers = [seconds_of_help() for _ in range(10)]
    print(f"distprop --help: best {min(answers):.3f} s, median {statistics.median(answers):.3f} s")
    print("distprop train examples/digits.toml -n 2, time until")
    print(f"{'':12}{'mpirun starts':>17}{'MPI is there':>17}{'first step':>17}")
    figures = [figure("distprop --help", "answer, s", answers)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.cold:
            cold = start(folder / "cold", folder / "cache")
            print(_line("empty cache", cold))
            figures += _figures("empty cache", [cold], COLD_S)
        start(folder / "first")
        starts, imports = [], []
        for n in range(count):
            imports.append(seconds_of_importing())
            starts.append(start(folder / str(n)))
        print(_line("best", [min(column) for column in zip(*starts, strict=True)]))
        print(_line("median", [statistics.median(column) for column in zip(*starts, strict=True)]))
        print(f"yardstick: best {min(imports):.2f} s, median {statistics.median(imports):.2f} s")
        figures += [*_figures("warm", starts, WARM_S), figure("yardstick", "two Pythons import Numba, s", imports)]
    if options.json:
        Report("Start", ABOUT, figures).save(options.json)


def _figures(subject: str, starts: list[list[float]], goal: float) -> list[Figure]:
    mpirun, mpi, first_step = zip(*starts, strict=True)
    return [
        figure(subject, "mpirun starts, s", mpirun),
        figure(subject, "MPI is there, s", mpi),
        figure(subject, "first step, s", first_step, goal, at_most=True),
    ]


if __name__ == "__main__":
    main()
