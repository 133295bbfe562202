"""Ranks that measure how fast messages are between them: python -m distprop.measure FILE, under an mpirun.

FILE gets a JSON object: "hosts", the name of each rank's, and "speeds", as comm/speed.py finds them.
"""

import json
import socket
import sys
from pathlib import Path

from distprop.comm.mpi import Mpi
from distprop.comm.speed import measure
from distprop.comm.texts import everyones
from distprop.environment import die_with_parent


def main(file: str) -> None:
    die_with_parent()
    comm = Mpi()
    hosts, speeds = everyones(comm, socket.gethostname()), measure(comm)
    if comm.rank == 0:
        Path(file).write_text(json.dumps({"hosts": hosts, "speeds": [speed._asdict() for speed in speeds]}))
    comm.barrier()


if __name__ == "__main__":
    main(sys.argv[1])
