"""The sides of steps.py: programs that train the same task, or do its arithmetic, each process on a core of its own."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from programs import Program, ranks, script
from rounds import Copies, Turn
from steps_task import Task


@dataclass(frozen=True)
class Contestant:
    """program(folder of the task); copies: so many run at the same time, on cores of their own.

    runs: trainings in a program, each of all samples.
    """

    program: Callable[[Path], Program]
    copies: int = 1
    runs: int = 1
    processes: int = 1
    environment: str = ""  # a peer's

    def on(self, cores: Sequence[int], folder: Path) -> Copies:
        program = self.program(folder)
        return [(program, cores[copy : copy + self.processes]) for copy in range(self.copies)]


def _peer(name: str, environment: str, *form: str, processes: int = 1) -> Contestant:
    def program(folder: Path) -> Program:
        return script(name, *form, folder, environment=environment, processes=processes)

    return Contestant(program, processes=processes, environment=environment)


CONTESTANTS = {
    "1 rank": Contestant(lambda folder: script("steps_distprop.py", "together", 0, folder)),
    "tile": Contestant(lambda folder: script("steps_tile.py", folder)),
    "1 shard": Contestant(lambda folder: script("steps_distprop.py", "together", 1, folder)),
    "PyTorch": _peer("steps_torch.py", "peers", "eager"),
    "torch.compile": _peer("steps_torch.py", "peers", "compile"),
    "JAX step": _peer("steps_jax.py", "peers-jax", "step"),
    "JAX scan": _peer("steps_jax.py", "peers-jax", "scan"),
    "scikit-learn": _peer("steps_sklearn.py", "peers"),
    "2 ranks": Contestant(lambda folder: ranks(2, "steps_distprop.py", "together", 0, folder), processes=2),
    "two runs": Contestant(lambda folder: script("steps_distprop.py", "together", 0, folder), copies=2),
    "two that wait": Contestant(lambda folder: ranks(2, "steps_distprop.py", "beside", 0, folder), processes=2, runs=2),
    "PyTorch DDP": _peer("steps_torch.py", "peers", "ddp", processes=2),
}
ON_ONE_CORE = [name for name, side in CONTESTANTS.items() if side.copies == side.processes == 1]


@dataclass(frozen=True)
class Speed:
    """Of a turn. samples_per_s: of the median epoch, runs summed. split: shares of our ranks' time by phase.

    barrier_ns: of our ranks after it, 0 for one rank.
    """

    samples_per_s: float
    split: Mapping[str, float]
    barrier_ns: float = 0.0


def speed_of(task: Task, side: str, turn: Turn) -> Speed:
    samples = CONTESTANTS[side].runs * (task.samples // task.batch * task.batch)
    speeds = [samples / statistics.median(answer["seconds"]) for answer in turn]
    by_rank = turn[0].get("split", [])
    split = {phase: statistics.mean(rank[phase] for rank in by_rank) for phase in (by_rank[0] if by_rank else {})}
    return Speed(sum(speeds), split, turn[0].get("barrier_ns", 0.0))
