"""distprop's part in fashion.py: python fashion_distprop.py TARGET SEED MOST CONVERSATION, a rank of mpirun."""

import contextlib
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from conversation import Conversation
from engine import communicator, make_training
from fashion_peers import result

from distprop.config import load_config, resolve
from distprop.config.run import Config
from distprop.config.schedules import Constant
from distprop.errors import Interrupted
from distprop.training import loop
from distprop.training.checkpoint import Progress
from distprop.training.evaluation import Evaluation
from distprop.training.run import prepared_material

CONFIG = Path(__file__).parent.parent / "examples" / "fashion.toml"


def config_of(seed: int, epochs: int) -> Config:
    """The example with a constant learning rate, as the peers have it."""
    config = resolve(load_config(CONFIG), CONFIG.parent)
    return replace(config, seed=seed, schedule=Constant(), training=replace(config.training, epochs=epochs))


class Until(loop.Silent):
    """Takes the time at the end of each epoch, and asks for a stop once the accuracy is reached."""

    def __init__(self, target: float) -> None:
        self._target = target
        self.ends: list[float] = []
        self.accuracy = 0.0

    def wish(self, progress: Progress, steps: int) -> int:
        return loop.STOP if self.accuracy >= self._target else 0

    def epoch_done(self, progress: Progress, numbers: Mapping[str, float], evaluation: Evaluation | None) -> None:
        if self.accuracy >= self._target:  # steps that a stop came too late for
            return
        self.ends.append(time.perf_counter())
        self.accuracy = numbers["validation_accuracy"]


def main(target: float, seed: int, most: int, conversation: Path) -> None:
    comm, observer = communicator(), Until(target)
    talk, config = Conversation(conversation, comm.rank), config_of(seed, most)
    training = make_training(config, prepared_material(config), comm, observer)
    comm.barrier()
    begin = time.perf_counter()
    with contextlib.suppress(Interrupted):  # as it was asked for
        training.run()
    talk.answer(result([begin, *observer.ends], observer.accuracy, target))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
