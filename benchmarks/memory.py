"""Memory of preparing a CSV file and training on it: python benchmarks/memory.py [rows ...] [--quick] [--json FILE]

Each run is `distprop train` on 2 ranks for one epoch in minibatches of 1024, on 20 columns and a class, by default of
100,000, 250,000 and 1,000,000 rows. Every process of the run is sampled a hundred times a second for its anonymous
memory (RssAnon): what it has allocated, without the pages of mapped files, which the kernel takes back when it needs
them. Prints the peak of the launcher (which prepares the data), of a rank, and of all processes together.
"""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from data import write_csv
from report import Figure, Report, figure, parser_of
from run_memory import by_role, config_of, train

MIB = 1 << 20
ABOUT = "Peaks of anonymous memory, MiB, of preparing a CSV file and training on it for an epoch on 2 ranks."


@dataclass
class Peak:
    """Peaks of anonymous memory in bytes: of each process by its role, and of all together."""

    total: int = 0
    by_role: dict[str, int] = field(default_factory=dict)

    def add(self, sample: dict[str, list[int]]) -> None:
        self.total = max(self.total, sum(map(sum, sample.values())))
        for role, sizes in sample.items():
            self.by_role[role] = max(self.by_role.get(role, 0), *sizes)


def measure(rows: int, folder: Path) -> tuple[Peak, float]:
    """The peaks and the seconds, with an empty cache of data."""
    path, peak = folder / f"{rows}.csv", Peak()
    write_csv(path, rows)
    seconds = train(config_of(path, (64,), 1024, 1), folder / str(rows), lambda pid: peak.add(by_role(pid, "RssAnon")))
    path.unlink()
    return peak, seconds


def main() -> None:
    parser = parser_of(__doc__, "20,000 rows")
    parser.add_argument("rows", type=int, nargs="*", default=[100_000, 250_000, 1_000_000])
    options = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["DISTPROP_CACHE"] = str(folder / "cache")
        measure(1000, folder)  # compiles
        for rows in [20_000] if options.quick else options.rows:
            peak, seconds = measure(rows, folder)
            parts = ", ".join(f"{role} {size / MIB:.1f}" for role, size in peak.by_role.items())
            print(f"{rows:>9,} rows: {seconds:6.2f} s, peak MiB: total {peak.total / MIB:.1f}, {parts}", flush=True)
            for role, size in {"total": peak.total, **peak.by_role}.items():
                figures.append(figure(f"{rows:,} rows", role, [size / MIB]))
    if options.json:
        Report("Memory of a growing file", ABOUT, figures).save(options.json)


if __name__ == "__main__":
    main()
