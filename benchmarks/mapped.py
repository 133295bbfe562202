"""Training speed from memory-mapped files, as prepared data are, against the same arrays in memory.

Files of uint8 and of float32 numbers, 784 a sample, are prepared as for `distprop train`; four programs of one rank on
the same core take turns. The files are in the page cache. The smallest network does little but gather its minibatches.
Run: python benchmarks/mapped.py [--quick] [--json FILE]
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from mapped_distprop import FEATURES, material, paths
from programs import script
from report import Figure, Report, figure, finish, parser_of
from rounds import median_seconds, started, take_rounds

ABOUT = (
    "Speed from memory-mapped files over the speed from memory, one rank, Adam, shuffled. "
    "Median over rounds, and the range of their middle half."
)
# Network, minibatch, and whether it has the goal.
NETWORKS = (("784-256-128-10", 64, True), ("784-256-128-10", 256, True), ("784-10", 256, False))
DTYPES = ("uint8", "float32")
GOAL = 0.95


def write_data(folder: Path, samples: int) -> None:
    """Arrays of both types, and their prepared files."""
    random = np.random.Generator(np.random.Philox(key=1))
    x = random.integers(0, 256, (samples, FEATURES), np.uint8)
    for dtype in DTYPES:
        features, labels = paths(folder, dtype)
        np.save(features, x.astype(dtype))
        np.save(labels, random.integers(0, 10, samples))
        material(folder, dtype, mapped=True)


def ratios(folder: Path, dtype: str, network: str, batch: int, rounds: int, seconds: float) -> list[float]:
    """Mapped over in memory, of each round."""
    core = min(os.sched_getaffinity(0))
    print(f"{network}, {batch}, {dtype}", file=sys.stderr)
    copies = {
        store: [(script("mapped_distprop.py", store, dtype, network, batch, folder), [core])]
        for store in ("mapped", "memory")
    }
    with started(copies, seconds) as sides:
        turns = take_rounds(sides, rounds)
    times = zip(turns["memory"], turns["mapped"], strict=True)
    return [median_seconds(memory) / median_seconds(mapped) for memory, mapped in times]


def main() -> None:
    parser = parser_of(__doc__, "three rounds of 0.1 s a turn, 6000 samples")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.4, help="of a turn")
    parser.add_argument("--samples", type=int, default=60_000)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.samples = 3, 0.1, 6000
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        write_data(Path(name), options.samples)
        for network, batch, has_goal in NETWORKS:
            for dtype in DTYPES:
                found = ratios(Path(name), dtype, network, batch, options.rounds, options.seconds)
                figures.append(figure(f"{network}, {batch}", f"{dtype} files", found, GOAL if has_goal else None))
    finish(Report("Memory-mapped files", ABOUT, figures), options)


if __name__ == "__main__":
    main()
