"""From every rank's partial gradients to the same updated parameters on every rank.

Mathematically an allreduce of the gradients, then the same update everywhere. Physically (form "ordered"): each rank
owns slices of the flat vectors, sums them over all partial gradients in the order of the tree over shards
(reduce-scatter), updates them, and hands them to all others (allgather). On one machine the vectors lie in shared
memory: the first is a sum over memory that others have written, or, with less to read, the gradient of the own slices
alone, computed from all ranks' activations (is_shared_out); the last is nothing but waiting (`Shared`). Between
machines slices travel as messages (`Machines`). `Allreduce` is the textbook form, whose bits depend on the number of
ranks and on the MPI library; it stays as the yardstick.

An exchange is lists of calls, which become part of the step's tape: kernels where memory is shared, messages where it
isn't.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from distprop.comm.allreduce import Allreduce
from distprop.comm.communicator import Array, Communicator
from distprop.comm.machines import Machines
from distprop.comm.shards import Node
from distprop.comm.shared import Shared
from distprop.comm.slices import cut_into_buckets
from distprop.comm.volumes import Volume
from distprop.kernels.norms import BLOCK
from distprop.kernels.tape import Call, Item

BALANCED = 16 * BLOCK  # elements of a slice: shorter ones differ too much in length for equal work


class Exchange(Protocol):
    """One step's communication. The flat vectors are exchanged in buckets, one or more.

    nodes: this rank's canonical nodes of the tree over shards, one partial gradient each, in ascending order.
    owned: of each bucket, the slice of the flat vectors that this rank updates.
    params (length,): the parameters, which all ranks see alike after `settle`.
    zeros: makes the arrays that a forward and a backward pass write, as np.zeros does.
    copies: the ranks that have a copy of them in common, for each copy: those of a machine, or each for itself.
    part: of this rank's copy, what it answers for; the parts of its ranks are the whole.
    shares_params: whether other ranks read params in the very memory that this one writes.

    is_shared_out: whether there are no partial gradients to exchange. All ranks see what each of them has written into
    those arrays, and after `collect` each computes the part of the whole gradient that it owns, partials (1, length).

    Written before the exchange, by this rank: partials (len(nodes), length), the partial gradients;
    tails (len(nodes), TAIL) float64, sums over a node's samples; words (WORDS,) int64, what it tells the others;
    blocks, for each bucket (ceil(owned / BLOCK),) float64, the sums of squares of the owned slice's blocks.
    """

    nodes: tuple[Node, ...]
    owned: tuple[slice, ...]
    is_shared_out: bool
    zeros: Callable[..., Array]
    params: Array
    copies: tuple[range, ...]
    partials: Array
    tails: Array
    words: Array
    blocks: tuple[Array, ...]

    @property
    def part(self) -> slice: ...

    @property
    def shares_params(self) -> bool: ...

    @property
    def volumes(self) -> Sequence[Volume]:
        """What each of its messages' traffics sends, where ranks are on several machines."""

    parts: tuple[Array, ...]
    """After `collect`: the owned slice of a bucket's gradient is their sum, in the tree's order, parts (K, owned)."""

    totals: Array
    """After `agree`: the tails (TAIL,) of all shards, summed in the tree's order."""
    all_words: Array
    """After `agree`: (size, WORDS)."""
    all_blocks: Array
    """After `agree`: those of the whole gradient."""

    def forward(self, calls: Sequence[Call]) -> list[Call]:
        """The calls of a forward pass, each after the parameters that it reads have come."""

    def backward(self, calls: Sequence[Call]) -> list[Call]:
        """The calls of a backward pass, between which gradients that are complete set off."""

    def backward_and_update(self, calls: Sequence[Call], update: Callable[[int], list[Call]]) -> list[Item]:
        """The same, and all that follows it, where nothing has to be known before the update: also agree and share.

        update(bucket): the calls that `collect` a bucket and update it.
        """

    def collect(self, bucket: int) -> list[Call]:
        """After the backward pass: wait for the parts of the owned slice of a bucket."""

    def sum_parts(self, bucket: int, gradient: Array, columns: slice) -> list[Call]:
        """gradient (n,) = the sum of the columns of a bucket's parts, where these have more than one row."""

    def agree(self) -> list[Call]:
        """Let all ranks know the same totals, words and blocks."""

    def share(self) -> list[Call]:
        """Make every rank's owned slices of the parameters known to all: they may arrive later, see `forward`."""

    def settle(self) -> None:
        """Wait until all parameters have arrived, after some steps: a collective."""

    def gather(self, mine: Array) -> Array:
        """A whole vector (length,) of every rank's owned slices, as of the optimizer's state: a collective.

        mine: this rank's, one behind the other.
        """

    def waiting(self) -> None:
        """Called now and then while this rank waits for others; raises if they won't come."""


def _is_worth_sharing_out(ranks: int, length: int, activations: int | None) -> bool:
    """Each rank reads its share of these numbers of all, or it writes a gradient of full length and reads as much."""
    return activations is not None and activations <= 2 * ranks * length and length >= BALANCED * ranks


def make_exchange(
    form: str,
    comm: Communicator,
    length: int,
    shards: int,
    dtype: npt.DTypeLike,
    layers: Sequence[int] = (),
    passes: int = 1,
    activations: int | None = None,
) -> Exchange:
    """The exchange that training.exchange names: "ordered" or "allreduce".

    layers: where their parameters, or blocks of these, begin.
    passes: in how many a rank computes its shards, see `passes_of`.
    activations: how many numbers a minibatch's gradient is made of: layers' inputs, and gradients at their outputs.
    """
    if form == "allreduce":
        return Allreduce(comm, length, shards, dtype, passes)
    if comm.shares_memory:
        is_shared_out = passes == 1 < comm.size and _is_worth_sharing_out(comm.size, length, activations)
        return Shared(comm, length, shards, dtype, passes, is_shared_out)
    return Machines(comm, cut_into_buckets(length, np.dtype(dtype).itemsize, layers), shards, dtype, passes)
