"""Wall-clock of one Fashion-MNIST epoch: 784-256-128-100-10 ReLU network, batch 128, Adam, two cores for each.

distprop on 2 ranks, scikit-learn's MLPClassifier and PyTorch with 2 threads take turns on the same pinned cores; the
medians of all epochs but the first of each turn are compared. Above 1 distprop is faster. Peers get their own
environment. Needs the files of Debian's package dataset-fashion-mnist.
Run: python benchmarks/fashion.py [--rounds 3] [--epochs 2]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers import peer_python

from distprop.config import load_config, resolve
from distprop.data.prepare import prepare

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / "examples" / "fashion.toml"
PEERS = ("scikit-learn", "torch", "torch-fused", "torch-loader")
LIMIT_S = 600


def ours(folder: Path, epochs: int, ranks: int) -> list[float]:
    """Seconds of each epoch but the first; nothing is validated."""
    config = folder / "fashion.toml"
    lines = [line for line in CONFIG.read_text().splitlines() if not line.startswith("validation")]
    config.write_text("\n".join(lines))
    run = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = [sys.executable, "-m", "distprop.cli", "train", str(config), "-n", str(ranks), "--run", str(run)]
    command += ["--set", f"training.epochs={epochs + 1}", "--set", "checkpoint.every_seconds=0"]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    speeds = [record["samples_per_s"] for record in records if record["kind"] == "epoch"]
    return [60_000 / speed for speed in speeds[1:]]


def peer(name: str, python: Path, arrays: tuple[Path, Path], epochs: int, threads: int) -> list[float]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    command = [python, Path(__file__).with_name("fashion_peers.py"), name, *arrays, str(epochs), str(threads)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S, env=environment)
    return [float(word) for word in done.stdout.split()]


def arrays_for_peers(folder: Path) -> tuple[Path, Path]:
    """The training data as standardised float32 and labels."""
    config = resolve(load_config(CONFIG), CONFIG.parent)
    prepared = prepare(config.data, config.seed, config.dtype)
    statistics_ = prepared.encoding.statistics
    assert statistics_ is not None
    x = prepared.training.features.reshape(60_000, 784).astype(np.float32)
    x = (x - np.float32(statistics_.array_mean)) / np.float32(statistics_.array_deviation)
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", prepared.training.labels)
    return folder / "x.npy", folder / "y.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--cores", type=int, nargs=2, default=(0, 1))
    options = parser.parse_args()
    os.sched_setaffinity(0, options.cores)
    python = peer_python()
    times: dict[str, list[float]] = {name: [] for name in ("distprop", *PEERS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = arrays_for_peers(folder)
        for _ in range(options.rounds):
            for name in times:
                turn = (
                    peer(name, python, arrays, options.epochs, 2) if name in PEERS else ours(folder, options.epochs, 2)
                )
                print(name, *(f"{seconds:.2f}" for seconds in turn), file=sys.stderr, flush=True)
                times[name] += turn
    best = statistics.median(times["distprop"])
    print("Fashion-MNIST, 784-256-128-100-10, batch 128, Adam, one epoch on 2 cores")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{name:14} median {median:6.2f} s ({spread})  distprop is {median / best:5.2f} times as fast")


if __name__ == "__main__":
    main()
