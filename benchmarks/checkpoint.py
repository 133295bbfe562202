"""Checkpoints on disk: python benchmarks/checkpoint.py [--folder FOLDER] [--rounds 20] [--quick] [--json FILE]

Seconds that training waits while one is written, forced to disk and an old one is removed, and that a start takes to
read and verify one: parameters and Adam's state in float32. Depends on the disk that FOLDER is on, by default the
present folder's.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from report import Figure, Report, figure, finish, parser_of

from distprop.training.checkpoint import Checkpoint, Checkpoints, Progress

PARAMETERS = (2_410, 235_000, 10_000_000)
KEPT = 2
ABOUT = (
    "Milliseconds to write a checkpoint durably and remove an old one, and to read and verify one. Median over rounds, "
    "and the range of their middle half."
)


def checkpoint_of(parameters: int, step: int) -> Checkpoint:
    vectors = np.random.default_rng(step).standard_normal((3, parameters), dtype=np.float32)
    return Checkpoint(Progress(step=step), vectors[0], {"m": vectors[1], "v": vectors[2]}, None, "config data")


def measure(parameters: int, rounds: int, folder: Path) -> list[Figure]:
    checkpoints, writing, reading = Checkpoints(folder, KEPT), [], []
    for step in range(1, rounds + 1):
        checkpoint = checkpoint_of(parameters, step)
        begin = time.perf_counter()
        checkpoints.save(checkpoint)
        saved = time.perf_counter()
        found, problems = Checkpoints(folder, KEPT).load(checkpoint.config)
        reading.append(1e3 * (time.perf_counter() - saved))
        writing.append(1e3 * (saved - begin))
        assert found is not None and found.progress == checkpoint.progress and not problems
    name = f"{parameters:,} parameters, {12e-6 * parameters:,.2f} MB"
    return [figure(name, "written, ms", writing), figure(name, "read and verified, ms", reading)]


def main() -> None:
    parser = parser_of(__doc__, "three rounds, without the largest")
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    rounds, sizes = (3, PARAMETERS[:-1]) if options.quick else (options.rounds, PARAMETERS)
    figures: list[Figure] = []
    for parameters in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            figures += measure(parameters, rounds, Path(folder))
    finish(Report("Checkpoints", ABOUT, figures), options)


if __name__ == "__main__":
    main()
