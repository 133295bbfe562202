"""The launcher with pretended ranks: launcher.py RANKS BEHAVIOUR. Ends as `distprop train` does."""

import sys
import time
from pathlib import Path

from distprop.errors import DistpropError
from distprop.launch import run as watch
from distprop.launch import start
from distprop.launch.command import Command
from distprop.launch.hosts import Place
from distprop.launch.progress import Progress
from distprop.run_directory import RunDirectory

watch.END_S = 1.0  # the default is for slow file systems
began = time.monotonic()
run = RunDirectory.create(Path("run"))
start.WORKER = (sys.executable, str(Path(__file__).parent / "rank.py"))
command = start.rank_command(Place(int(sys.argv[1])), run.path)
print("started", flush=True)
try:
    status = watch.supervise(Command((*command.arguments, sys.argv[2]), command.environment), run, Progress())
    print(start.summary(run, status, time.monotonic() - began))
except DistpropError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
