"""One rank of a pretended training: rank.py RUN BEHAVIOUR. It speaks real MPI and keeps the run directory's rules."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from mpi4py import MPI

from distprop.errors import DataError
from distprop.run_directory import RunDirectory

MANY_STEPS = 12_000  # a minute: longer than a test that stops them needs, wherever it runs
STEP_S = 0.005


def main(run, behaviour):
    comm, stop = MPI.COMM_WORLD, []
    signal.signal(signal.SIGUSR1, lambda *_: stop.append(behaviour != "deaf"))
    signal.signal(signal.SIGTERM, signal.SIG_IGN if behaviour == "deaf" else signal.SIG_DFL)
    if behaviour == "early":
        time.sleep(120)
    comm.Barrier()
    steps = MANY_STEPS if behaviour in ("long", "deaf") else 3
    for step in range(1, steps + 1):
        act(comm, behaviour, step)
        asked = comm.allreduce(sum(stop))
        time.sleep(STEP_S)
        if comm.rank == 0:
            status = {"step": step, "steps": steps, "epochs": steps, "loss": 1 / step}
            run.append_metrics({"kind": "epoch", "step": step, "epoch": step, "loss": 1 / step, "accuracy": 0.5})
            run.write_status({"phase": "stopped" if asked else "training", **status})
        if asked:
            comm.Barrier()
            sys.exit(75)
    if comm.rank == 0 and behaviour != "silent":
        run.write_status({"phase": "done", "step": steps, "steps": steps, "digest": "0123abcd"})
    if behaviour == "done-then-hang":
        time.sleep(120)
    if behaviour == "done-then-fail":
        sys.exit(3)


def act(comm, behaviour, step):
    """What goes wrong in step 2, on the last rank."""
    if step != 2 or comm.rank != comm.size - 1:
        return
    if behaviour == "raise":
        raise ValueError("the cat is on the keyboard")
    if behaviour == "data-error":
        raise DataError("train.csv, line 18: nothing there")
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    directory = RunDirectory(Path(sys.argv[1]))
    try:
        main(directory, sys.argv[2])
    except Exception as error:
        known = isinstance(error, DataError)
        text = str(error) if known else traceback.format_exc()
        rank = MPI.COMM_WORLD.rank
        directory.write_failure(rank, type(error).__name__, text, error.exit_code if known else 1)
        MPI.COMM_WORLD.Abort(1)
