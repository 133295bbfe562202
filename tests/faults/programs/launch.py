"""The command line, with the ranks of faulty_rank.py: launch.py ARGUMENTS. MPIRUN may name another one to use."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from distprop import cli
from distprop.launch import start

start.WORKER = (sys.executable, str(Path(__file__).parent / "faulty_rank.py"))
if "MPIRUN" in os.environ:
    found = start.find_mpi()
    os.environ["REAL_MPIRUN"] = str(found.mpirun)
    start.find_mpi = lambda: replace(found, mpirun=Path(os.environ["MPIRUN"]))
sys.exit(cli.main(sys.argv[1:]))
