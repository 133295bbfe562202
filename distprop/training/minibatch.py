"""The samples of each minibatch: which they are, and this rank's rows of them, gathered from the mapped data.

A minibatch of B samples is the next B of the epoch's keyed permutation, which is computed, not stored. A rank gathers
the rows of its own shards alone; only where samples have weights does it read the weights (and labels) of all B, since
the loss is divided by their sum.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distprop.comm.shards import Node, shard_bounds
from distprop.data.dataset import Dataset
from distprop.kernels import elementwise, gather, norms, permutation
from distprop.network.program import Array
from distprop.training.targets import Target


@dataclass(frozen=True)
class Minibatch:
    """This rank's rows of one minibatch."""

    samples: int  # of the whole minibatch
    rows: slice  # this rank's, in it
    total_weight: float  # of the whole minibatch


class Minibatches:
    """Gathers minibatches into arrays of its own.

    indices, weights: (B,) of the whole minibatch. Of this rank's rows: labels (N,), targets (N,) or (N, O).
    """

    def __init__(
        self,
        data: Dataset,
        target: Target,
        batch_size: int,
        run: Node,
        shards: int,
        dtype: npt.DTypeLike,
        seed: int,
        shuffle: bool,
        class_weights: Array | None,
    ) -> None:
        self.data, self.target, self.batch_size = data, target, batch_size
        self._run, self._shards, self._seed, self._shuffle = run, shards, seed, shuffle
        self._class_weights = class_weights
        self._matrix = data.matrix
        self._weighted = data.weights is not None or class_weights is not None
        largest = max(self.sizes())  # which may be less than batch_size
        self.positions = np.zeros(largest, np.int64)
        self.indices = np.zeros(largest, np.int64)
        self.weights = np.ones(largest, dtype)
        self._all_labels = np.zeros(largest, np.int32)
        most = max(self.owned_rows(samples)[1] - self.owned_rows(samples)[0] for samples in self.sizes())
        self.most_rows = most
        self.labels = np.zeros(most, np.int32)
        self.targets = target.rows(most, dtype)

    def __len__(self) -> int:
        """Minibatches an epoch, the last one perhaps smaller."""
        return -(-len(self.data) // self.batch_size)

    def sizes(self) -> set[int]:
        """The numbers of samples that minibatches have."""
        last = len(self.data) - (len(self) - 1) * self.batch_size
        return {last} if len(self) == 1 else {self.batch_size, last}

    def owned_rows(self, samples: int) -> tuple[int, int]:
        """This rank's rows [first, last) of a minibatch of so many samples."""
        bounds = shard_bounds(samples, self._shards)
        return int(bounds[self._run[0]]), int(bounds[self._run[1]])

    def choose(self, epoch: int, number: int) -> Minibatch:
        """Find the samples of an epoch's minibatch `number`, and their weights."""
        start = number * self.batch_size
        samples = min(self.batch_size, len(self.data) - start)
        positions, indices = self.positions[:samples], self.indices[:samples]
        if self._shuffle:
            permutation.minibatch_indices(positions, start, len(self.data), self._seed, epoch)
        else:
            permutation.sequential_indices(positions, start)
        if self.data.rows is None:
            indices[:] = positions
        else:
            np.take(self.data.rows, positions, out=indices)
        rows = slice(*self.owned_rows(samples))
        return Minibatch(samples, rows, self._weigh(indices) if self._weighted else float(samples))

    def _weigh(self, indices: Array) -> float:
        weights = self.weights[: len(indices)]
        if self.data.weights is None:
            weights[:] = 1
        else:
            gather.gather_values(weights, self.data.weights, indices)
        if self._class_weights is not None:
            labels = self._all_labels[: len(indices)]
            gather.gather_labels(labels, self.data.labels, indices)
            elementwise.weigh_classes(weights, labels, self._class_weights)
        return float(norms.ordered_sum(weights))

    def gather(self, minibatch: Minibatch, features: Array) -> tuple[Array, Array, Array, Array]:
        """features (N, F) = this rank's samples; returns their indices, labels, targets and weights (N, ...)."""
        indices = self.indices[minibatch.rows]
        labels, targets = self.labels[: len(indices)], self.targets[: len(indices)]
        gather.gather_rows(features, self._matrix, indices)
        self.target.gather(targets, labels, self.data, indices)
        return indices, labels, targets, self.weights[minibatch.rows]
