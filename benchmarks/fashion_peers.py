"""One epoch of Fashion-MNIST in scikit-learn or PyTorch: run by fashion.py in the peers' own environment.

Prints the seconds of each epoch after the first. The data are in memory as standardised float32, batches of 128, Adam.
torch: eager, a minibatch by one indexing operation; torch-fused: the same with Adam's fused kernel; torch-loader: with
a DataLoader, as most programs have it.
Usage: python fashion_peers.py scikit-learn|torch|torch-fused|torch-loader FEATURES.npy LABELS.npy EPOCHS THREADS
"""

import sys
import time
import warnings
from itertools import pairwise

import numpy as np

HIDDEN, BATCH = (256, 128, 100), 128


def scikit_learn(x, y, epochs):
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore")  # it warns that so few epochs don't converge
    model = MLPClassifier(HIDDEN, batch_size=BATCH, alpha=0.0, max_iter=1, warm_start=True, random_state=0)  # Adam
    for _ in range(epochs + 1):
        start = time.perf_counter()
        model.fit(x, y)
        yield time.perf_counter() - start
    assert model.coefs_[0].dtype == np.float32  # so it has computed with them too


def torch(x, y, epochs, loader=False, fused=False):
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    sizes = (x.shape[1], *HIDDEN)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 10))
    optimizer, loss = torch.optim.Adam(model.parameters(), fused=fused), nn.CrossEntropyLoss()
    x, y = torch.from_numpy(x), torch.from_numpy(y)

    def batches():
        if loader:
            yield from DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
        else:
            for rows in torch.randperm(len(x)).split(BATCH):
                yield x[rows], y[rows]

    for _ in range(epochs + 1):
        start = time.perf_counter()
        for features, labels in batches():
            optimizer.zero_grad(set_to_none=True)
            loss(model(features), labels).backward()
            optimizer.step()
        yield time.perf_counter() - start


def main(peer, features, labels, epochs, threads):
    x, y = np.load(features), np.load(labels).astype(np.int64)
    if peer == "scikit-learn":
        times = scikit_learn(x, y, int(epochs))
    else:
        import torch as library

        library.set_num_threads(int(threads))
        times = torch(x, y, int(epochs), loader=peer == "torch-loader", fused=peer == "torch-fused")
    print(*list(times)[1:])


main(*sys.argv[1:])
