"""What failures cost: python benchmarks/restart.py [--kills 10] [--quick] [--json FILE]

Seconds from the death of a rank (SIGKILL, on 2 ranks of examples/digits.toml, compiled code in the cache) to the first
step that the next ranks do; and the share of a core that telling a heartbeat a second takes in a rank, and that hearing
16 ranks takes in the launcher.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from report import Figure, Report, figure, finish, parser_of

from distprop.heartbeat.listener import Listener
from distprop.heartbeat.pulse import Pulse
from distprop.heartbeat.sender import Sender
from distprop.run_directory import RunDirectory

DIGITS = Path(__file__).parent.parent / "examples" / "digits.toml"
OPTIONS = (
    "--set",
    "training.epochs=1000000",
    "--set",
    "checkpoint.every_seconds=0.5",
    "--set",
    "training.log_every=10",
)
LIMIT_S = 120.0
POLL_S = 0.002
RANKS = 16
GOAL_S, GOAL_PERCENT = 3.0, 0.1
ABOUT = (
    "Seconds from the death of a rank to the first new step; and the share of one core's time that heartbeats take. "
    "Median over kills, or over seconds, and the range of their middle half."
)


def wait(condition: Callable[[], object]) -> float:
    """When it holds."""
    until = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("nothing happens")
        time.sleep(POLL_S)
    return time.monotonic()


def a_rank_of(launcher: int) -> int:
    """The process of one of its ranks."""
    children = psutil.Process(launcher).children(recursive=True)
    return next(child.pid for child in children if "distprop.worker" in child.cmdline() and "mpi" not in child.name())


def seconds_of_restarts(kills: int, folder: Path) -> list[float]:
    run = RunDirectory(folder / "run")
    command = [sys.executable, "-m", "distprop.cli", "train", str(DIGITS), "-n", "2", "--run", str(run.path), *OPTIONS]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launcher:
        try:
            return [_restart(launcher.pid, run) for _ in range(kills)]
        finally:
            launcher.terminate()
            launcher.wait(LIMIT_S)


def _restart(launcher: int, run: RunDirectory) -> float:
    """Kill a rank as soon as a new checkpoint has been written."""
    incidents, before = run.path / "incidents", set(run.checkpoints.glob("step-*"))
    wait(lambda: set(run.checkpoints.glob("step-*")) - before)
    known = len(list(incidents.glob("*")))
    os.kill(a_rank_of(launcher), signal.SIGKILL)
    killed = time.monotonic()
    wait(lambda: len(list(incidents.glob("*"))) > known and run.read_status() is None)
    return wait(lambda: _has_new_steps(run)) - killed


def _has_new_steps(run: RunDirectory) -> bool:
    status = run.read_status()
    return bool(status and status["phase"] == "training" and run.read_metrics()[-1]["step"] > status["start_step"])


def percent_of_heartbeats(seconds: int) -> tuple[list[float], list[float]]:
    """Of each second, what a sender's thread takes, and what a listener of many ranks takes."""
    with Listener() as listener:
        senders = [Sender(Pulse(rank), listener.address) for rank in range(RANKS)]
        for sender in senders:
            sender.__enter__()
        telling, hearing = [], []
        for _ in range(seconds):
            until, process, thread = time.monotonic() + 1.0, time.process_time(), time.thread_time()
            while (left := until - time.monotonic()) > 0:
                listener.hear(min(left, 0.05))
            own = time.thread_time() - thread
            hearing.append(100 * own)
            telling.append(100 * (time.process_time() - process - own) / RANKS)
        for sender in senders:
            sender.__exit__(None, None, None)
    assert threading.active_count() == 1
    return telling, hearing


def main() -> None:
    parser = parser_of(__doc__, "two kills")
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        restarts = seconds_of_restarts(2 if options.quick else options.kills, Path(folder))
    telling, hearing = percent_of_heartbeats(3 if options.quick else 10)
    figures: list[Figure] = [
        figure("a rank dies", "first new step after, s", restarts, GOAL_S, at_most=True),
        figure("heartbeats", "of a rank's core, %", telling, GOAL_PERCENT, at_most=True),
        figure("heartbeats", f"of the launcher's core, {RANKS} ranks, %", hearing),
    ]
    finish(Report("What failures cost", ABOUT, figures), options)


if __name__ == "__main__":
    main()
