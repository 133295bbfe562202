"""Fashion-MNIST to 0.88 of the test images right: 784-256-128-100-10 ReLU network, batch 128, Adam, two cores for each.

distprop on 2 ranks, scikit-learn's MLPClassifier, and PyTorch with two threads train from scratch in turns, each from
initial weights and orders of its own, until the test accuracy after an epoch is reached; the time of these evaluations
counts, that of imports, reading and compiling doesn't. Also the time of an epoch, as the number of epochs is a matter
of luck. Peers get their own environment. Needs the files of Debian's package dataset-fashion-mnist.
Run: python benchmarks/fashion.py [--rounds 5] [--target 0.88] [--quick] [--json FILE]
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from fashion_distprop import config_of
from fashion_peers import FILES, PEERS
from peers import versions_of
from programs import Program, ranks, result_of, script
from report import Figure, Report, figure, finish, parser_of

from distprop.training.run import prepared_material

OURS = "distprop, 2 ranks"
GOAL = 4.0
ABOUT = (
    "Seconds to reach a test accuracy, from scratch, and seconds an epoch with its evaluation. "
    "Median over seeds, and the range of their middle half."
)
Results = dict[str, list[dict[str, float]]]  # by side, one a seed


def save_arrays(folder: Path) -> None:
    """Images and labels as files for the peers: standardised float32, as ours are computed on the way."""
    material = prepared_material(config_of(0, 1))
    statistics = material.encoding.statistics
    assert statistics is not None and material.validation is not None
    mean, deviation = np.float32(statistics.array_mean), np.float32(statistics.array_deviation)
    for part, data in (("train", material.data), ("test", material.validation)):
        np.save(folder / FILES[part][0], (data.matrix.astype(np.float32) - mean) / deviation)
        np.save(folder / FILES[part][1], np.asarray(data.labels, np.int64))


def program(name: str, folder: Path, target: float, seed: int, most: int) -> Program:
    if name == OURS:
        return ranks(2, "fashion_distprop.py", target, seed, most)
    return script("fashion_peers.py", name, folder, target, seed, most, environment="peers", threads=2)


def figures(results: Results, target: float) -> list[Figure]:
    found = []
    for name, turns in results.items():
        for kind, words in (("seconds", f"to {target}"), ("epoch", "an epoch")):
            theirs, ours = ([turn[kind] for turn in each] for each in (turns, results[OURS]))
            found.append(figure(name, f"{words}, s", theirs))
            if name != OURS:
                goal = GOAL if kind == "seconds" else None
                ratios = [other / mine for other, mine in zip(theirs, ours, strict=True)]
                found.append(figure(name, f"distprop's speed over its, {words}", ratios, goal))
        found.append(figure(name, "epochs", [turn["epochs"] for turn in turns]))
    return found


def main() -> None:
    parser = parser_of(__doc__, "one round, to 0.5")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--target", type=float, default=0.88)
    parser.add_argument("--most", type=int, default=30, help="epochs, after which a turn is given up")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.target, options.most = 1, 0.5, 2
    cores = sorted(os.sched_getaffinity(0))[:2]
    names = [OURS, *PEERS]
    results: Results = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        save_arrays(Path(folder))
        for seed in range(options.rounds):
            for name in names[:: -1 if seed % 2 else 1]:
                found = result_of(program(name, Path(folder), options.target, seed, options.most), cores)
                print(seed, name, found, file=sys.stderr, flush=True)
                results[name].append(found)
    report = Report("Fashion-MNIST", ABOUT, figures(results, options.target), versions=versions_of("peers"))
    finish(report, options)


if __name__ == "__main__":
    main()
