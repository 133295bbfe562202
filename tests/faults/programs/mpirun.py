#!/usr/bin/env python3
"""An mpirun that lies: LIE says how. Otherwise it is the real one, which REAL_MPIRUN names.

code N      all is done well, and it ends with the code N
killed N    it kills all ranks when they have begun, and ends with the code N
lost N      it kills one of them, as if with its host, and ends with the code N when the others have
never N     it starts nothing, and ends with the code N
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

SEED = int(os.environ.get("SEED", "0"))


def ranks(mpirun):
    """Processes that come from it and train."""
    found = []
    for process in mpirun.children(recursive=True):
        try:
            if any("faulty_rank.py" in word for word in process.cmdline()) and "python" in process.name():
                found.append(process)
        except psutil.Error:
            continue
    return found


def main():
    kind, code = os.environ["LIE"].split()
    if kind == "never":
        return int(code)
    real = subprocess.Popen([os.environ["REAL_MPIRUN"], *sys.argv[1:]])
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, frame: real.send_signal(number))
    marker, logs = Path(os.environ["LIE_ONCE"]), Path(sys.argv[-1]) / "logs"
    if kind != "code" and not marker.exists():
        marker.touch()
        mpirun = psutil.Process(real.pid)
        while not list(logs.glob("rank-*.log")) and real.poll() is None:
            time.sleep(0.01)
        time.sleep(random.Random(SEED).uniform(0, 3))
        for process in ranks(mpirun) if kind == "killed" else ranks(mpirun)[-1:]:
            process.kill()
    real.wait()
    return int(code)


sys.exit(main())
