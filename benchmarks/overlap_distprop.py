"""A side of overlap.py: python overlap_distprop.py both|compute ROWS NETWORK CONVERSATION, a rank of mpirun.

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

from distprop.comm.communicator import Message, Traffic
from distprop.comm.mpi import Mpi

STEPS_PER_EPOCH = 8


class Nothing:
    def start(self) -> None:
        pass

    def wait(self) -> None:
        pass


class Mute(Mpi):
    """Sends no large messages; what would have come are zeros."""

    def traffic(self, sends: Sequence[Message], receives: Sequence[Message]) -> Traffic:
        return Nothing()


def main(form: str, rows: int, network: str, conversation: Path) -> None:
    comm = Mute() if form == "compute" else Mpi()
    talk = Conversation(conversation, comm.rank)
    batch = rows * comm.size
    task = Task(tuple(map(int, network.split("-"))), batch, "adam", batch * STEPS_PER_EPOCH)
    talk.answer({})
    # As many shards as ranks: then no rank sends more than one partial gradient.
    train_in_turns(config_of(task, shards=comm.size), material_of(task), comm, talk)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
