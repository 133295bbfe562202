"""distprop's part in steps.py: python steps_distprop.py FORM SHARDS FOLDER CONVERSATION, alone or as a rank of mpirun.

FORM "together": the ranks share the work. "beside": each does it all by itself, but waits for the others as often as if
something were exchanged. SHARDS 0: the default number.
"""

import sys
from pathlib import Path

from conversation import Conversation
from engine import communicator, make_training, train_in_turns
from steps_task import BETA1, BETA2, CHECK_EPOCHS, CLOCKS, EPSILON, MOMENTUM, Task, load_task

from distprop.comm.communicator import Array, Communicator
from distprop.comm.serial import Serial
from distprop.config import resolve
from distprop.config.data import Data
from distprop.config.layers import Dense
from distprop.config.losses import SoftmaxCrossEntropy
from distprop.config.optimizers import Adam, Momentum, Optimizer
from distprop.config.run import Config, Network, Training
from distprop.data.dataset import Dataset
from distprop.training import loop
from distprop.training.run import Material

SEED = 0


def config_of(task: Task, shards: int = 0, epochs: int = 1_000_000_000) -> Config:
    *hidden, last = task.sizes[1:]
    optimizer: Optimizer = Momentum(task.rate, MOMENTUM)
    if task.optimizer == "adam":
        optimizer = Adam(task.rate, BETA1, BETA2, EPSILON)
    config = Config(
        data=Data("arrays-in-memory.npz", target_kind="classes"),
        network=Network((*(Dense(units, "relu") for units in hidden), Dense(last)), SoftmaxCrossEntropy()),
        optimizer=optimizer,
        training=Training(epochs=epochs, batch_size=task.batch, shards=shards or None),
        seed=SEED,
    )
    return resolve(config, Path.cwd())


def material_of(task: Task) -> Material:
    dataset, encoding = Dataset.from_arrays(*task.data())
    return Material(dataset, None, encoding, "")


def check(task: Task, comm: Communicator, shards: int = 0) -> loop.Training:
    """The training of the check, whose losses are compared."""
    return make_training(config_of(task, shards, CHECK_EPOCHS), material_of(task.check), comm, loop.Silent())


class Beside(Serial):
    def __init__(self, ranks: Communicator) -> None:
        super().__init__()
        self._ranks = ranks

    def arrivals(self) -> tuple[Array, int]:
        return self._ranks.arrivals()


def main(form: str, shards: int, folder: Path, conversation: Path) -> None:
    task, comm = load_task(folder), communicator()
    talk = Conversation(conversation, comm.rank)
    comm = Beside(comm) if form == "beside" else comm
    talk.answer({"losses": [numbers["loss"] for numbers in check(task, comm, shards).run().history]})
    train_in_turns(config_of(task, shards), material_of(task), comm, talk, CLOCKS[task.clock])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
