"""A side of overlap.py: python overlap_distprop.py both|compute ROWS CONVERSATION, a rank of mpirun.

ROWS: of a minibatch, on each rank. compute: the large messages of a step are left out, so the numbers are nonsense; the
small message that all ranks wait for stays.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from conversation import Conversation
from engine import train_in_turns
from steps_distprop import config_of, material_of
from steps_task import Task

from distprop.comm.communicator import Array
from distprop.comm.mpi import Mpi

NETWORK = "784-1024-1024-10"
STEPS_PER_EPOCH = 4


class Mute(Mpi):
    """Sends no large messages; what would have come are zeros."""

    def scatter_slices(self, parts: Array, out: Array, counts: Sequence[int], cuts: Sequence[int]) -> None:
        out[:] = 0

    def allgather_slices(self, vector: Array, cuts: Sequence[int]) -> None:
        pass


def main(form: str, rows: int, conversation: Path) -> None:
    comm = Mute() if form == "compute" else Mpi()
    talk = Conversation(conversation, comm.rank)
    batch = rows * comm.size
    task = Task(tuple(map(int, NETWORK.split("-"))), batch, "adam", batch * STEPS_PER_EPOCH)
    talk.answer({})
    # As many shards as ranks: then no rank sends more than one partial gradient.
    train_in_turns(config_of(task, shards=comm.size), material_of(task), comm, talk)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
