"""Where a rank is. The thread that trains writes it, the one that tells it reads it."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LOOKING_S = 2.0  # so long after its last look at the others a rank counts as waiting for them

STARTING, PREPARING, COMPILING, LOADING = "starting", "preparing data", "compiling", "reading a checkpoint"
FIRST_STEP, TRAINING, VALIDATING, SAVING = "in its first step", "training", "validating", "saving"


@dataclass(frozen=True)
class Beat:
    """What one rank tells at one time. moves: a count that grows while it gets on; waits: for what of the others."""

    rank: int
    host: str
    process: int
    phase: str
    step: int  # steps that are done
    moves: int
    waits: str

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.host} (process {self.process})"


class Pulse:
    """Noted by the training of one rank."""

    def __init__(self, rank: int = 0) -> None:
        self.rank, self.phase, self.step, self.moves = rank, STARTING, 0, 0
        self.waits = ""  # what a collective that it is in waits for
        self._host, self._process = socket.gethostname(), os.getpid()
        self._looked = 0.0

    def enter(self, phase: str) -> None:
        """A phase begins: one of those above."""
        self.phase = phase
        self.moves += 1

    def move(self, step: int | None = None) -> None:
        """This rank has got on; step: steps that are done."""
        self.moves += 1
        if step is not None:
            self.step = step
            self.phase = TRAINING

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """A phase that another one goes on after."""
        before = self.phase
        self.enter(phase)
        yield
        self.enter(before)

    def wait(self, what: str) -> None:
        """A collective begins, which returns when all others are there."""
        self.waits = what

    def go_on(self) -> None:
        """A collective has ended."""
        self.waits = ""
        self.moves += 1

    def look(self) -> None:
        """Looked whether the others have come, and they haven't."""
        self._looked = time.monotonic()

    def beat(self) -> Beat:
        looks = time.monotonic() - self._looked < LOOKING_S
        waits = self.waits or ("the others in a step" if looks else "")
        return Beat(self.rank, self._host, self._process, self.phase, self.step, self.moves, waits)
