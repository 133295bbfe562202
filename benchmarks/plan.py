"""What `distprop plan` predicts, beside what is so: 1 and 2 ranks of this machine, and 3 hosts with slow links.

On this machine: the time of a step by the plan, over that of a training of some seconds which is started after it.
On hosts, network namespaces with a rank each (hosts.py; needs root): the model's over the plan's own measurement.
Run: python benchmarks/plan.py [--rate 500] [--rounds 3] [--quick] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hosts import hosts, missing
from report import Figure, Report, figure, finish, parser_of

from distprop.run_directory import RunDirectory

# Layers, rows of a minibatch, and minibatches of an epoch: enough for what is done between epochs not to count.
HERE = (("64-32-10", 64, 6000), ("784-256-128-10", 64, 400), ("28-300-300-300-2", 256, 400))
BETWEEN = (("784-256-128-10", 192, 200), ("784-1024-1024-10", 192, 200))
HOSTS = 3
TRAINING_S = 4.0
GOAL = 0.15
CONFIG = """
[data.train]
features = "{folder}/features.npy"
targets = "{folder}/targets.npy"
[network]
layers = [{layers}]
loss = {{ type = "softmax_cross_entropy" }}
[training]
batch_size = {rows}
shards = {shards}
epochs = 1000000
[checkpoint]
every_seconds = 3600
"""


def write_task(folder: Path, network: str, rows: int, minibatches: int, shards: int) -> Path:
    """Data and the configuration of a network; its file."""
    inputs, *units = map(int, network.split("-"))
    numbers = np.random.default_rng(1)
    np.save(folder / "features.npy", numbers.normal(size=(rows * minibatches, inputs)).astype(np.float32))
    targets = numbers.integers(0, units[-1], rows * minibatches)
    targets[: units[-1]] = range(units[-1])
    np.save(folder / "targets.npy", targets)
    hidden = [f'{{ type = "dense", units = {count}, activation = "relu" }}' for count in units[:-1]]
    layers = ", ".join([*hidden, f'{{ type = "dense", units = {units[-1]} }}'])
    file = folder / "task.toml"
    file.write_text(CONFIG.format(folder=folder, layers=layers, rows=rows, shards=shards))
    return file


def distprop(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "distprop.cli", *map(str, arguments)]


def plan(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[int, dict[str, Any]]:
    """The rows of a plan by their numbers of ranks."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **(environment or {})}
    )
    return {row["ranks"]: row for row in json.loads(done.stdout)["rows"]}


def train(config: Path, ranks: int) -> float:
    """Seconds of a step of a training on so many ranks: the median of what it reports."""
    run = RunDirectory(config.parent / f"run-{ranks}")
    with subprocess.Popen(
        distprop("train", config, "-n", ranks, "--run", run.path), stdout=subprocess.DEVNULL
    ) as started:
        while not (run.path / "metrics.jsonl").exists() and started.poll() is None:
            time.sleep(0.1)
        time.sleep(TRAINING_S)
        started.terminate()
    speeds = [record["samples_per_s"] for record in run.read_metrics() if record["kind"] == "step"]
    rows = int(next(line.split("=")[1] for line in config.read_text().splitlines() if line.startswith("batch_size")))
    shutil.rmtree(run.path)
    return rows / statistics.median(speeds[len(speeds) // 4 :])


def here(options: argparse.Namespace) -> Iterator[Figure]:
    for network, rows, minibatches in HERE[:1] if options.quick else HERE:
        with tempfile.TemporaryDirectory() as folder:
            config = write_task(Path(folder), network, rows, minibatches, 8)
            ratios: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(options.rounds):
                rows_of = plan(distprop("plan", config, "--ranks", "1:2", "--json"))
                for ranks, of_ranks in ratios.items():
                    of_ranks.append(rows_of[ranks]["measured_step_s"] / train(config, ranks))
            for ranks, of_ranks in ratios.items():
                yield from compared(f"{network}, {rows} rows", f"{ranks} of this machine: plan / training", of_ranks)


def between(options: argparse.Namespace) -> Iterator[Figure]:
    for network, rows, minibatches in BETWEEN[:1] if options.quick else BETWEEN:
        with tempfile.TemporaryDirectory() as folder, hosts(HOSTS, options.rate) as made:
            config = write_task(Path(folder), network, rows, minibatches, HOSTS)
            places = ",".join(f"{name}:1" for name in made.names)
            command = distprop("plan", config, "--ranks", f"1:{HOSTS}", "--hosts", places, "--json")
            found = [plan(made.on(made.names[0], command), made.environment)[HOSTS] for _ in range(options.rounds)]
            subject = f"{network}, {rows} rows"
            yield figure(subject, f"{HOSTS} hosts: model, ms", [1e3 * row["predicted_step_s"] for row in found])
            yield figure(subject, f"{HOSTS} hosts: measured, ms", [1e3 * row["measured_step_s"] for row in found])
            ratios = [row["predicted_step_s"] / row["measured_step_s"] for row in found]
            yield from compared(subject, f"{HOSTS} hosts: model / measured", ratios)


def compared(subject: str, measure: str, ratios: Sequence[float]) -> Iterator[Figure]:
    """What was predicted over what is so, and how far their median is from 1."""
    yield figure(subject, measure, ratios)
    yield figure(subject, f"{measure}, off by", [abs(statistics.median(ratios) - 1)], GOAL, at_most=True)


def main() -> None:
    parser = parser_of(__doc__, "one network of each kind, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=500.0, help="of a host's link, Mbit/s in each direction")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    found = list(here(options))
    found += [] if missing() else between(options)
    about = (
        f"Steps by `distprop plan` and as they are. Links of {options.rate:.0f} Mbit/s; the hosts share this machine's "
        "cores. Median over rounds, and the range of their middle half."
    )
    finish(Report("What is planned and what is so", about, found), options)


if __name__ == "__main__":
    main()
