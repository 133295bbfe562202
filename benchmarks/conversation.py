"""How a program that a benchmark has started talks with it: it answers when it is ready, then after each question.

Its folder holds a pipe of questions for each process, named by its rank, and one of answers, which rank 0 writes. A
process that waits for its next question uses no core. The end of the pipe, also when the benchmark dies, ends the loop.
Runs in the peers' environments too, so it needs the standard library alone.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ANSWERS, CORES = "answers", "cores.json"


class Conversation:
    """One process's end, on the cores that the benchmark has chosen for it."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        os.sched_setaffinity(0, json.loads((folder / CORES).read_text())[rank])
        self._questions = (folder / str(rank)).open()
        self._answers = (folder / ANSWERS).open("w") if rank == 0 else None

    def answer(self, found: Any) -> None:
        """Tell the benchmark; ranks other than 0 need not, and don't."""
        if self._answers:
            print(json.dumps(found), file=self._answers, flush=True)

    def question(self) -> Any:
        """The next question, the same for all ranks; None if there are no more."""
        line = self._questions.readline()
        return json.loads(line) if line else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.question, None)
