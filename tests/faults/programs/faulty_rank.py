"""A rank that trains as others do, but slowly, so that it can be met in the middle, and with a fault: FAULT says which.

    faulty_rank.py RUN                   under our launcher
    faulty_rank.py train CONFIG ...      under an mpirun of the user's

FAULT is a JSON object: kind, rank, step. It happens once in a run, after so many steps.
"""

import ctypes
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

from distprop import cli, worker
from distprop.comm import mpi
from distprop.training.loop import Training
from distprop.training.observer import RunObserver

RUN = Path(sys.argv[sys.argv.index("--run") + 1] if "--run" in sys.argv else sys.argv[1])
PACE_S = 0.01  # before each run of steps


def stop(training):
    """Stopped by a signal, as by a debugger."""
    os.kill(os.getpid(), signal.SIGSTOP)


def loop(training):
    """An endless loop in Python."""
    while True:
        pass


def loop_in_c(training):
    """An endless loop that doesn't let other threads run either: matching takes 2 ** 60 steps."""
    re.match("(a+)+$", "a" * 60 + "b")


def sleep(training):
    """Blocked in a call that lets other threads run."""
    time.sleep(1e6)


def read(training):
    """A file that doesn't answer: a pipe that nobody writes to."""
    pipe = RUN / "pipe"
    os.mkfifo(pipe)
    pipe.open().read()


def skip(training):
    """Leaves out its next collective in which every rank gives and takes."""
    real = mpi.Mpi.allgather_slices

    def skipped(self, vector, cuts):
        mpi.Mpi.allgather_slices = real

    mpi.Mpi.allgather_slices = skipped


def mis_size(training):
    """Takes less in its next collective than rank 0 gives."""
    real = mpi.Mpi.broadcast

    def smaller(self, text):
        mpi.Mpi.broadcast = real
        self._comm.Bcast(np.zeros(1, np.int8))
        return ""

    mpi.Mpi.broadcast = smaller


def slow(training):
    """Slower than the others from now on, by a second for each few steps."""
    real = RunObserver.steps_done

    def slower(self, *arguments):
        time.sleep(1)
        real(self, *arguments)

    RunObserver.steps_done = slower


def slow_disk(training):
    """Each fsync takes long from now on."""
    real = os.fsync

    def slower(descriptor):
        time.sleep(2)
        real(descriptor)

    os.fsync = slower


def crash(training):
    """Reads where there is no memory."""
    ctypes.string_at(0)


def fail(training):
    """An error of the program."""
    raise ValueError("this rank fails")


def flip(training):
    """A bit of this rank's copy of the parameters."""
    training.model.params.view(np.uint8)[0] ^= 1


FAULTS = {
    one.__name__: one
    for one in (stop, loop, loop_in_c, sleep, read, skip, mis_size, slow, slow_disk, crash, fail, flip)
}


def with_fault(train_steps, fault):
    def faulty(self):
        time.sleep(PACE_S)
        if fault and self._comm.rank == fault["rank"] and self.progress.step >= fault["step"] and _first_time():
            FAULTS[fault["kind"]](self)
        return train_steps(self)

    return faulty


def _first_time():
    """A file tells those who come later, and when it happened."""
    try:
        (RUN / "fault").open("x").close()
    except FileExistsError:
        return False
    return True


if __name__ == "__main__":
    Training._train_steps = with_fault(Training._train_steps, json.loads(os.environ.get("FAULT", "null")))
    sys.exit(cli.main() if sys.argv[1] == "train" else worker.main(sys.argv[1:]))
