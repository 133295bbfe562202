"""Resident memory of a rank while it trains: python benchmarks/resident.py [--quick] [--json FILE]

`distprop train` on 2 ranks, a small and a large network, Adam. What a rank has in memory (VmRSS: what it has allocated,
code, shared memory), how much of it parameters and buffers take by their sizes, and the rest.
"""

import os
import statistics
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from data import FEATURES, write_csv
from report import Figure, Report, figure, finish, parser_of
from run_memory import RANKS, by_role, config_of, train

MB = 1e6
GOAL = 180.0
ROWS, EPOCHS = 2048, 20
ABOUT = (
    "Resident memory of a rank since its first step, of 2 ranks on one machine. Parameters and buffers: by their "
    "sizes. The first column has the median over samples, and the range of their middle half."
)


@dataclass(frozen=True)
class Network:
    """A network for the CSV file of data.py, with Adam."""

    hidden: tuple[int, ...]
    batch: int

    @property
    def widths(self) -> tuple[int, ...]:
        return (FEATURES, *self.hidden, 2)

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, {self.batch}"

    @property
    def share(self) -> float:
        """Bytes of parameters and buffers that a rank has in its memory.

        All parameters and its partial gradient; of its slice, what it reads of the other ranks' partial gradients, the
        gradient, the optimizer's two vectors and the parameters; the values of its rows and their gradients.
        """
        params = sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.widths))
        vectors = 2 * params + (RANKS - 1 + 1 + 2 + 1) * params / RANKS
        values = self.batch / RANKS * (2 * FEATURES + 3 * sum(self.widths[1:]))  # inputs: raw and standardised
        return 4.0 * (vectors + values)


NETWORKS = (Network((64,), 1024), Network((3000, 3000), 256))


def measure(network: Network, folder: Path) -> list[Figure]:
    path, run = folder / "data.csv", folder / f"run-{len(network.hidden)}"
    megabytes: list[float] = []
    write_csv(path, ROWS)
    train(config_of(path, network.hidden, network.batch, 1), folder / f"{run.name}-first", lambda launcher: None)

    def look(launcher: int) -> None:
        metrics = run / "metrics.jsonl"
        if metrics.exists() and metrics.stat().st_size:  # a step is done
            megabytes.extend(size / MB for size in by_role(launcher, "VmRSS").get("rank", []))

    train(config_of(path, network.hidden, network.batch, EPOCHS), run, look)  # everything is compiled
    share = network.share / MB
    return [
        figure(network.name, "resident, MB", megabytes),
        figure(network.name, "parameters and buffers, MB", [share]),
        figure(network.name, "rest, MB", [statistics.median(megabytes) - share], GOAL, at_most=True),
    ]


def main() -> None:
    options = parser_of(__doc__, "the small network alone").parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        os.environ["DISTPROP_CACHE"] = str(Path(name) / "cache")
        for network in NETWORKS[:1] if options.quick else NETWORKS:
            figures += measure(network, Path(name))
    finish(Report("Resident memory of a rank", ABOUT, figures), options)


if __name__ == "__main__":
    main()
