"""Test accuracy on Fashion-MNIST: python benchmarks/fashion_accuracy.py [relu sigmoid tanh] [-n 2]

Trains examples/fashion.toml, as it is and with other activations in its hidden layers, and prints the accuracy on the
10,000 test images of the model that is saved and of the last epoch's. The saved one has the lowest loss on these same
images; no test image had a say in the last epoch's, so that is the number to compare with the published 0.8833.
Needs the files of Debian's package dataset-fashion-mnist.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path(__file__).parent.parent / "examples" / "fashion.toml"
ACTIVATIONS = ("relu", "sigmoid", "tanh")
HIDDEN = (2, 3, 4)  # these layers of the example have an activation
LIMIT_S = 900.0


@dataclass(frozen=True)
class Accuracy:
    """What one training reached on the test images."""

    saved: float
    last: float
    epochs: int


def accuracy(activation: str, ranks: int, run: Path) -> Accuracy:
    """Train, and evaluate the saved model."""
    overrides = [part for n in HIDDEN for part in ("--set", f"network.layers.{n}.activation={activation}")]
    _distprop("train", str(CONFIG), "-n", str(ranks), "--run", str(run), *overrides)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    epochs = [record for record in map(json.loads, lines) if record["kind"] == "epoch"]
    folder = Path("/usr/share/datasets/fashion-mnist")
    images, labels = folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"
    found = json.loads(_distprop("evaluate", str(run), "--data", str(images), "--targets", str(labels), "--json"))
    return Accuracy(found["accuracy"], epochs[-1]["validation_accuracy"], len(epochs))


def _distprop(*arguments: str) -> str:
    command = [sys.executable, "-m", "distprop.cli", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("activations", nargs="*", default=ACTIVATIONS)
    parser.add_argument("-n", "--ranks", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for activation in options.activations:
            found = accuracy(activation, options.ranks, Path(name) / activation)
            print(
                f"{activation:8} test accuracy: saved model {found.saved:.4f}, last of {found.epochs} epochs "
                f"{found.last:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
