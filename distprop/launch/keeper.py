"""A process that outlives a launcher which is killed, and then ends what that has started: keeper.py TOKEN FOLDER.

It is told the number of mpirun's process on its standard input, files of shared memory that are in use, and "done" when
there is nothing left to end. The end of its input without that word means that the launcher has died.
"""

import sys
from pathlib import Path

from distprop.launch.family import Family

DONE = "done"


def main(token: str, folder: str) -> None:
    mpirun, segments = 0, set()
    for line in sys.stdin.read().splitlines():  # until its end
        if line == DONE:
            return
        if line.isdigit():
            mpirun = int(line)
        else:
            segments.add(Path(line))
    Family(token, mpirun, Path(folder), segments).end()


if __name__ == "__main__":
    main(*sys.argv[1:])
