"""The limit of steps.py, an epoch of products at the rate of the register tile: steps_tile.py FOLDER CONVERSATION.

A product that fits into the first cache is repeated from compiled code until as many operations are done as a training
needs for an epoch's products, so that neither memory, nor Python, nor anything else that training does is in the time.
"""

import sys
from pathlib import Path

import numba
import numpy as np
from conversation import Conversation
from steps_task import CLOCKS, Task, load_task

from distprop.kernels import dense

SHAPE = (96, 64, 64)  # rows, inputs, outputs: 64 KB in all, of which a tile needs 17 KB at a time
IDENTITY = dense.FUSED["identity"]


@numba.njit(nogil=True)
def _repeat(calls, y, x, w, b, scratch):
    for _ in range(calls):
        dense.dense_forward(y, x, w, b, IDENTITY, scratch)


def take_turns(task: Task, talk: Conversation) -> None:
    """The seconds of as many epochs as asked for."""
    n, i, o = SHAPE
    random = np.random.default_rng(0)
    x, w, b = (random.standard_normal(shape, dtype=np.float32) for shape in ((n, i), (i, o), (o,)))
    y, scratch = np.empty((n, o), np.float32), np.empty(dense.scratch_elements(n, i, o, 1, "float32"), np.float32)
    calls, now = round(task.flops * (task.samples // task.batch) / (2 * n * i * o)), CLOCKS[task.clock]
    talk.answer({})

    def epoch() -> float:
        begin = now()
        _repeat(calls, y, x, w, b, scratch)
        return now() - begin

    for epochs in talk:
        talk.answer({"seconds": [epoch() for _ in range(epochs)]})


if __name__ == "__main__":
    take_turns(load_task(Path(sys.argv[1])), Conversation(Path(sys.argv[2])))
