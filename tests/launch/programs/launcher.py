"""The launcher with pretended ranks: launcher.py RANKS BEHAVIOUR. Ends as `distprop train` does."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from distprop.config.run import Launch
from distprop.errors import DistpropError
from distprop.heartbeat.watch import Limits
from distprop.launch import run as watch
from distprop.launch import start
from distprop.launch.hosts import Place
from distprop.launch.progress import Progress
from distprop.run_directory import RunDirectory

watch.END_S = 1.0  # the default is for slow file systems
began = time.monotonic()
run = RunDirectory.create(Path("run"))
start.WORKER = (sys.executable, str(Path(__file__).parent / "rank.py"))
ranks = start.ranks_of(Place(int(sys.argv[1])), run.path, Limits.of(Launch()))


def command(watcher):
    ours = ranks.command(watcher)
    return replace(ours, arguments=(*ours.arguments, sys.argv[2]))


print("started", flush=True)
try:
    with watch.stop_requests() as stop, Progress() as progress:
        status = watch.supervise(replace(ranks, command=command), run, progress, stop)
    print(start.summary(run, status, time.monotonic() - began))
except DistpropError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
