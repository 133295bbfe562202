"""A peer's part in fashion.py, in the peers' own environment: trains until a test accuracy is reached.

The data are in memory as standardised float32, batches of 128, Adam. PyTorch: eager, a minibatch by one indexing
operation; fused: with Adam's fused kernel; DataLoader: as most programs have it.
Usage: python fashion_peers.py PEER FOLDER TARGET SEED MOST_EPOCHS CONVERSATION
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from conversation import Conversation

HIDDEN, BATCH, CLASSES = (256, 128, 100), 128, 10
THREADS = 2
PEERS = ("scikit-learn", "PyTorch", "PyTorch, fused", "PyTorch, DataLoader")
FILES = {"train": ("train-x.npy", "train-y.npy"), "test": ("test-x.npy", "test-y.npy")}

Epoch = Callable[[], float]  # trains for an epoch and returns the test accuracy


def result(times: list[float], accuracy: float, target: float) -> dict[str, float]:
    """What a program answers. times: when training began, and the end of each epoch."""
    if accuracy < target:
        raise RuntimeError(f"only {accuracy} of the test images are right after {len(times) - 1} epochs")
    epochs = [after - before for before, after in pairwise(times)]
    return {"seconds": times[-1] - times[0], "epochs": len(epochs), "epoch": median(epochs), "accuracy": accuracy}


def train(epoch: Epoch, target: float, most: int) -> dict[str, float]:
    times, accuracy = [time.perf_counter()], 0.0
    while accuracy < target and len(times) <= most:
        accuracy = epoch()
        times.append(time.perf_counter())
    return result(times, accuracy, target)


def scikit_learn(x: Any, y: Any, test_x: Any, test_y: Any, seed: int) -> Epoch:
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")  # it warns that so few epochs don't converge
    model = MLPClassifier(HIDDEN, batch_size=BATCH, alpha=0.0, random_state=seed)  # Adam

    def epoch() -> float:
        model.partial_fit(x, y, classes=np.arange(CLASSES))
        assert model.coefs_[0].dtype == np.float32  # so it has computed with them too
        return float(np.mean(model.predict(test_x) == test_y))

    return epoch


def pytorch(x: Any, y: Any, test_x: Any, test_y: Any, seed: int, loader: bool, fused: bool) -> Epoch:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(THREADS)
    torch.manual_seed(seed)
    sizes = (x.shape[1], *HIDDEN)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], CLASSES))
    optimizer, loss = torch.optim.Adam(model.parameters(), fused=fused), nn.CrossEntropyLoss()
    x, y, test_x, test_y = map(torch.from_numpy, (x, y, test_x, test_y))

    def batches() -> Iterator[Any]:
        if loader:
            yield from DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
        else:
            for rows in torch.randperm(len(x)).split(BATCH):
                yield x[rows], y[rows]

    def epoch() -> float:
        for features, labels in batches():
            optimizer.zero_grad(set_to_none=True)
            loss(model(features), labels).backward()
            optimizer.step()
        with torch.inference_mode():
            return (model(test_x).argmax(1) == test_y).double().mean().item()

    return epoch


def main(peer: str, folder: Path, target: float, seed: int, most: int, conversation: Path) -> None:
    talk = Conversation(conversation)
    arrays = [np.load(folder / name) for part in ("train", "test") for name in FILES[part]]
    if peer == "scikit-learn":
        epoch = scikit_learn(*arrays, seed)
    else:
        epoch = pytorch(*arrays, seed, loader="DataLoader" in peer, fused="fused" in peer)
    talk.answer(train(epoch, target, most))


if __name__ == "__main__":
    peer, folder, target, seed, most, conversation = sys.argv[1:]
    main(peer, Path(folder), float(target), int(seed), int(most), Path(conversation))
