"""What steps.py writes: the figures with their goals, and tables of speeds and of where our steps' time goes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from report import Figure, Table, figure, number
from steps_sides import Speed
from steps_task import Task

NETWORKS = (
    "64-32-10,16",
    "30-64-32-2,32",
    "784-256-128-10,64",
    "784-256-128-10,256",
    "28-300-300-300-2,256",
    "784-1024-1024-10,256",
)


class Ratio(NamedTuple):
    """Ours over theirs, by the sides' names in steps_sides.py. goals: one for each network, None for none."""

    ours: str
    theirs: str
    goals: tuple[float | None, ...] = (None,) * len(NETWORKS)


LAST_FOUR = (None, None, 0.95, 0.95, 0.95, 0.95)
RATIOS = {
    "1 rank / PyTorch eager": Ratio("1 rank", "PyTorch", (60, 40, 2.2, 1.5, 1.4, 1.05)),
    "1 rank / torch.compile": Ratio("1 rank", "torch.compile"),
    "1 rank / JAX jitted step": Ratio("1 rank", "JAX step", (8, 5, 1.1, 1.1, 1.1, 1.0)),
    "1 rank / JAX epoch in scan": Ratio("1 rank", "JAX scan", (2, 1.8, 1.0, 1.0, 1.0, 1.0)),
    "1 rank / scikit-learn": Ratio("1 rank", "scikit-learn"),
    "2 ranks / PyTorch DDP": Ratio("2 ranks", "PyTorch DDP", (100, 80, 6, 3, 3.5, 1.4)),
    "2 ranks / two runs": Ratio("2 ranks", "two runs", LAST_FOUR),
    "2 ranks / two that wait": Ratio("2 ranks", "two that wait"),
    "1 rank / 1 shard": Ratio("1 rank", "1 shard", LAST_FOUR),
    "1 rank / tile": Ratio("1 rank", "tile", (None, None, None, 0.8, 0.8, 0.8)),
    "tile / PyTorch eager": Ratio("tile", "PyTorch"),
    "tile / JAX epoch in scan": Ratio("tile", "JAX scan"),
}

HEAD = "network, batch, optimizer"
Speeds = Mapping[str, Sequence[Speed]]  # by side, one a round
ByTask = Mapping[Task, Speeds]


def figures(by_task: ByTask) -> list[Figure]:
    """Of the sides that took part."""
    found = []
    for task, speeds in by_task.items():
        for measure, (ours, theirs, goals) in RATIOS.items():
            if {ours, theirs} <= speeds.keys():
                pairs = zip(speeds[ours], speeds[theirs], strict=True)
                ratios = [mine.samples_per_s / other.samples_per_s for mine, other in pairs]
                found.append(figure(task.name, measure, ratios, _goal(task, goals)))
    return found


def fastest_table(by_task: ByTask) -> Table:
    """The same ratios, of each side's fastest turn."""
    sides = next(iter(by_task.values())).keys()
    known = {measure: ratio for measure, ratio in RATIOS.items() if {ratio.ours, ratio.theirs} <= sides}
    rows = []
    for task, speeds in by_task.items():
        fastest = {side: max(turn.samples_per_s for turn in turns) for side, turns in speeds.items()}
        rows.append([task.name, *(number(fastest[ratio.ours] / fastest[ratio.theirs]) for ratio in known.values())])
    return Table("Ratios of the fastest turns, which neighbours have disturbed least", [HEAD, *known], rows)


def _goal(task: Task, goals: tuple[float | None, ...]) -> float | None:
    name = task.network.replace(" ", "")
    return goals[NETWORKS.index(name)] if name in NETWORKS else None


def _gflops(task: Task, samples_per_s: float) -> float:
    return task.flops * samples_per_s / task.batch * 1e-9


def speed_table(by_task: ByTask) -> Table:
    sides = list(next(iter(by_task.values())))
    rows = [
        [task.name, *(f"{_median(speeds[side]).samples_per_s / task.batch:,.0f}" for side in sides)]
        for task, speeds in by_task.items()
    ]
    return Table("Steps/s", [HEAD, *sides], rows)


def profile_table(by_task: ByTask) -> Table:
    """Where the time of our median turn goes, by the phases that training tells; and all turns' times of a barrier."""
    places = [
        (task, side, _median(speeds[side]))
        for task, speeds in by_task.items()
        for side in ("1 rank", "2 ranks")
        if side in speeds
    ]
    phases = list(dict.fromkeys(phase for _, _, turn in places for phase in turn.split))
    rows = [[*_profile(task, side, turn, phases), _barriers(by_task[task][side])] for task, side, turn in places]
    return Table(
        "Where our steps' time goes",
        [HEAD, "side", "step, µs", *phases, "rest", "GFLOP/s a rank", "barrier, ns"],
        rows,
    )


def _barriers(turns: Sequence[Speed]) -> str:
    found = sorted(turn.barrier_ns for turn in turns)
    return f"{found[0]:.0f} to {found[-1]:.0f}" if found[-1] else ""


def _median(turns: Sequence[Speed]) -> Speed:
    """The middle turn by speed, the faster one of two."""
    return sorted(turns, key=lambda turn: turn.samples_per_s)[len(turns) // 2]


def _profile(task: Task, side: str, turn: Speed, phases: list[str]) -> list[str]:
    shares = [turn.split.get(phase, 0.0) for phase in phases]
    percent = [f"{100 * share:.0f} %" for share in (*shares, 1 - sum(shares))]
    gflops = _gflops(task, turn.samples_per_s) / int(side.split()[0])
    return [task.name, side, f"{1e6 * task.batch / turn.samples_per_s:,.1f}", *percent, f"{gflops:.1f}"]
