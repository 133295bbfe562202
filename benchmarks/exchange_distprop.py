"""distprop's part in exchange.py: python exchange_distprop.py FORM OPTIMIZER WIDTHS CONVERSATION, a rank of mpirun."""

import sys
from dataclasses import replace
from pathlib import Path

from conversation import Conversation
from engine import communicator, train_in_turns
from steps_distprop import config_of, material_of
from steps_task import Task

STEPS_PER_EPOCH = 8
BATCH = 2  # a sample a rank, so that computing takes little


def task_of(optimizer: str, widths: str) -> Task:
    return Task(tuple(map(int, widths.split("-"))), BATCH, optimizer, BATCH * STEPS_PER_EPOCH)


def main(form: str, optimizer: str, widths: str, conversation: Path) -> None:
    comm, task = communicator(), task_of(optimizer, widths)
    talk = Conversation(conversation, comm.rank)
    config = config_of(task, shards=BATCH)
    config = replace(config, training=replace(config.training, exchange=form))  # type: ignore[arg-type]
    talk.answer({})
    train_in_turns(config, material_of(task), comm, talk)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
