"""The samples of each minibatch: which they are, and this rank's rows of them, gathered from the mapped data.

A minibatch of B samples is the next B of the epoch's keyed permutation, which is computed, not stored. A rank gathers
the rows of its own shards alone; only where samples have weights does it read the weights (and labels) of all B, since
the loss is divided by their sum.
"""

import numpy as np
import numpy.typing as npt

from distprop.comm.shards import Node, shard_bounds
from distprop.data.dataset import Dataset
from distprop.kernels import elementwise, gather, permutation
from distprop.kernels.memory import zeros
from distprop.kernels.step import EPOCH, FIRST, set_scale, start_weights
from distprop.kernels.tape import Call, Cell
from distprop.network.program import Array
from distprop.training.targets import Target


class Minibatches:
    """Gathers minibatches into arrays of its own, by calls that become part of a tape.

    indices, weights: (B,) of the whole minibatch; total_weight (1,) float64: their sum; scale (1,): 1 / total_weight.
    Of the rows gathered last: labels (N,), targets (N,) or (N, O).
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
        self._keys = zeros((permutation.KEYS,), np.uint64)
        self._positions = zeros((largest,), np.int64)
        self.indices = zeros((largest,), np.int64)
        self.weights = np.ones(largest, dtype)
        self.total_weight, self.scale = np.zeros(1), np.zeros(1, dtype)
        self._all_labels = zeros((largest,), np.int32)
        most = max(self.rows(samples).stop - self.rows(samples).start for samples in self.sizes())
        self.labels = zeros((most,), np.int32)
        self.targets = target.rows(most, dtype)

    def __len__(self) -> int:
        """Minibatches an epoch, the last one perhaps smaller."""
        return -(-len(self.data) // self.batch_size)

    def sizes(self) -> set[int]:
        """The numbers of samples that minibatches have."""
        last = len(self.data) - (len(self) - 1) * self.batch_size
        return {last} if len(self) == 1 else {self.batch_size, last}

    def samples(self, number: int) -> int:
        """How many samples the minibatch of this number has."""
        return min(self.batch_size, len(self.data) - number * self.batch_size)

    def alike(self, number: int) -> int:
        """How many minibatches have the size of this one, from it on to the end of the epoch."""
        whole = len(self.data) // self.batch_size
        return whole - number if number < whole else 1

    def rows(self, samples: int) -> slice:
        """This rank's rows of a minibatch of so many samples."""
        bounds = shard_bounds(samples, self._shards)
        return slice(int(bounds[self._run[0]]), int(bounds[self._run[1]]))

    def choose(self, samples: int, clock: Array) -> list[Call]:
        """Find the samples of the epoch clock[EPOCH]'s minibatch that begins at clock[FIRST], and their weights."""
        indices, first = self.indices[:samples], Cell(clock, FIRST)
        chosen = indices if self.data.rows is None else self._positions[:samples]
        if self._shuffle:
            arguments = (chosen, self._keys, first, len(self.data), self._seed, Cell(clock, EPOCH))
            calls = [
                Call(permutation.minibatch_indices, arguments, "indices = minibatch_indices(epoch, first)", "data")
            ]
        else:
            calls = [Call(permutation.sequential_indices, (chosen, first), "indices = first, first + 1, ...", "data")]
        if self.data.rows is not None:
            rows = np.ascontiguousarray(self.data.rows, np.int64)
            calls.append(
                Call(gather.gather_values, (indices, rows, chosen), "indices = gather_values(rows, indices)", "data")
            )
        return calls + (self._weigh(indices) if self._weighted else [self._count(samples)])

    def _count(self, samples: int) -> Call:
        """The samples' weights are 1, but another size of minibatch may have come before."""
        arguments = (self.scale, self.total_weight, self.weights[:samples])
        return Call(set_scale, arguments, f"scale = 1 / {samples}", "data")

    def _weigh(self, indices: Array) -> list[Call]:
        weights, data = self.weights[: len(indices)], self.data
        if data.weights is None:
            calls = [Call(start_weights, (weights,), "weights = 1", "data")]
        else:
            arguments = (weights, data.weights, indices)
            calls = [Call(gather.gather_values, arguments, "weights = gather_values(weights, indices)", "data")]
        if self._class_weights is not None:
            labels = self._all_labels[: len(indices)]
            calls += [
                Call(gather.gather_labels, (labels, data.labels, indices), "labels = gather_labels(indices)", "data"),
                Call(elementwise.weigh_classes, (weights, labels, self._class_weights), "weights *= of class", "data"),
            ]
        return [*calls, Call(set_scale, (self.scale, self.total_weight, weights), "scale = 1 / sum(weights)", "data")]

    def gather(self, rows: slice, features: Array) -> list[Call]:
        """features (N, F) = the samples of some rows of the minibatch, and their labels and targets."""
        indices = self.indices[rows]
        labels, targets = self.labels[: len(indices)], self.targets[: len(indices)]
        inputs = Call(gather.gather_rows, (features, self._matrix, indices), "input = gather_rows(indices)", "data")
        return [inputs, *self.target.gather(targets, labels, self.data, indices)]
