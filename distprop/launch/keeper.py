"""A process that outlives a launcher which is killed, and then ends what that has started: keeper.py TOKEN FOLDER.

It is told the number of mpirun's process on its standard input, and "done" when there is nothing left to end. The end
of its input without that word means that the launcher has died.
"""

import sys
from pathlib import Path

from distprop.launch.family import Family

DONE = "done"


def main(token: str, folder: str) -> None:
    mpirun = 0
    for line in sys.stdin:
        if line.strip() == DONE:
            return
        mpirun = int(line)
    Family(token, mpirun, Path(folder)).end()


if __name__ == "__main__":
    main(*sys.argv[1:])
