"""The sides of steps.py: programs that train the same task and take short turns, on pinned cores."""

import contextlib
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from programs import Program, Running, ranks, script
from steps_task import Task


@dataclass(frozen=True)
class Side:
    """program(folder of the task); copies: so many run at the same time, on cores of their own."""

    program: Callable[[Path], Program]
    copies: int = 1
    processes: int = 1
    environment: str = ""  # a peer's


def _peer(name: str, environment: str, form: str = "", processes: int = 1) -> Side:
    forms = [form] if form else []
    program = lambda folder: script(name, *forms, folder, environment=environment, processes=processes)  # noqa: E731
    return Side(program, processes=processes, environment=environment)


SIDES = {
    "1 rank": Side(lambda folder: script("steps_distprop.py", 0, folder)),
    "1 shard": Side(lambda folder: script("steps_distprop.py", 1, folder)),
    "PyTorch": _peer("steps_torch.py", "peers", "eager"),
    "torch.compile": _peer("steps_torch.py", "peers", "compile"),
    "JAX step": _peer("steps_jax.py", "peers-jax", "step"),
    "JAX scan": _peer("steps_jax.py", "peers-jax", "scan"),
    "scikit-learn": _peer("steps_sklearn.py", "peers"),
    "2 ranks": Side(lambda folder: ranks(2, "steps_distprop.py", 0, folder), processes=2),
    "two runs": Side(lambda folder: script("steps_distprop.py", 0, folder), copies=2),
    "PyTorch DDP": _peer("steps_torch.py", "peers", "ddp", processes=2),
}
TWO_PROCESSES = {name for name, side in SIDES.items() if side.copies * side.processes > 1}


@dataclass(frozen=True)
class Turn:
    """samples_per_s: of the median epoch, copies summed. split: shares of the time by kind, ours."""

    samples_per_s: float
    split: Mapping[str, float]


class Player:
    """A side that has started, warmed up and waits for its turns. losses: of the check's epochs."""

    def __init__(self, side: Side, task: Task, folder: Path, cores: Sequence[int], seconds: float) -> None:
        self._task, self._epochs = task, 1
        program = side.program(folder)
        spans = [cores[copy : copy + program.processes] for copy in range(side.copies)]
        with contextlib.ExitStack() as stack:
            self._running = [stack.enter_context(Running(program, span)) for span in spans]
            ready = [running.answer() for running in self._running]
            self.losses: list[float] = ready[0]["losses"]
            self.turn()  # compiles, and fills caches
            epoch = task.samples / self.turn().samples_per_s * side.copies
            self._epochs = max(2, math.ceil(seconds / epoch))
            self._stack = stack.pop_all()

    def __enter__(self) -> "Player":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def turn(self) -> Turn:
        """Train a few epochs. Copies do so at the same time."""
        for running in self._running:
            running.ask(self._epochs)
        answers = [running.answer() for running in self._running]
        samples = self._task.samples // self._task.batch * self._task.batch
        speeds = [samples / statistics.median(answer["seconds"]) for answer in answers]
        return Turn(sum(speeds), answers[0].get("split", {}))
