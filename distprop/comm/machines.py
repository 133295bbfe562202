"""The exchange between several machines, while the ranks compute.

The ranks of a machine share one copy of the parameters and read each other's partial gradients, as on one machine. Of
all partial gradients of a machine, each owner of a slice elsewhere gets only their sums, those of the machine's
canonical nodes of the tree. The ranks of a machine share the sending: for each machine, a rank has one partner there.

Gradients travel during the backward pass: a bucket sets off as soon as it is complete. Updated parameters travel during
the next forward pass, and are waited for where they are read.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from distprop.comm.agreement import Agreement
from distprop.comm.communicator import Array, Communicator, Message, Traffic
from distprop.comm.routes import partners, ranges_of, served
from distprop.comm.shards import canonical_nodes, run_of
from distprop.comm.shared import wait_calls
from distprop.comm.slices import Sliced, blocks_of, rows_of
from distprop.comm.volumes import Volume, volumes
from distprop.kernels.barrier import WAITING
from distprop.kernels.memory import zeros
from distprop.kernels.tape import Call


class Machines(Sliced):
    """Several machines, with any number of ranks each."""

    def __init__(
        self, comm: Communicator, buckets: Sequence[slice], shards: int, dtype: npt.DTypeLike, passes: int
    ) -> None:
        super().__init__(comm, buckets, shards, passes)
        ranges = ranges_of(comm.machines)
        self._here, self._local = next((m, ranks) for m, ranks in enumerate(ranges) if comm.rank in ranks)
        self._partners, self._served = partners(comm.rank, comm.machines), served(comm.rank, comm.machines)
        by_machine = [canonical_nodes(run_of(ranks, comm.size, shards), self._root) for ranks in ranges]
        self._machine_rows, self._sent_nodes = rows_of(by_machine), by_machine[self._here]
        self._machine_nodes = [node for nodes in by_machine for node in nodes]
        self._local_nodes = [node for rank in self._local for node in self._by_rank[rank]]
        self._allocate(dtype)
        self._wait = wait_calls(*comm.arrivals())
        self._sums: list[list[Call]] = [[] for _ in buckets]
        self._gradients = [self._gradient_traffic(bucket) for bucket in range(len(buckets))]
        self._parameters = [self._parameter_traffic(bucket) for bucket in range(len(buckets))]

    def _allocate(self, dtype: npt.DTypeLike) -> None:
        comm, lengths = self._comm, [own.stop - own.start for own in self.owned]
        first = self._rows[self._local.start].start
        mine = self._rows[comm.rank]
        self.params = comm.shared_zeros((self._length,), dtype)
        # Every machine's own number of rows: no rank asks for another machine's memory.
        self._every_part = comm.shared_zeros((len(self._local_nodes), self._length), dtype)
        self.partials = self._every_part[mine.start - first : mine.stop - first]
        self.parts = tuple(zeros((len(self._machine_nodes), length), dtype) for length in lengths)
        blocks = [[blocks_of(self._slice(b, rank)) for b in range(len(self._buckets))] for rank in range(comm.size)]
        self._agreement = Agreement(comm, [len(nodes) for nodes in self._by_rank], blocks)
        self.tails, self.words, self.blocks = self._agreement.tails, self._agreement.words, self._agreement.blocks
        self.all_words, self.all_blocks = self._agreement.all_words, self._agreement.all_blocks

    def _tag(self, bucket: int, row: int = 0) -> int:
        return bucket * len(self._machine_nodes) + row

    def _gradient_traffic(self, bucket: int) -> Traffic:
        """The sums of this machine's partial gradients to the owners elsewhere, and those for my slice from there."""
        sends, receives, parts = [], [], self.parts[bucket]
        own = self._slice(bucket, self._comm.rank)
        here = self._machine_rows[self._here]
        self._sums[bucket] += self._sum_here(parts[here], own)
        for rank in self._served:
            sums = self._summed_here(bucket, self._slice(bucket, rank))
            sends += [Message(rank, self._tag(bucket, row), sums_row) for row, sums_row in enumerate(sums)]
        for machine, rank in self._partners:
            rows = parts[self._machine_rows[machine]]
            receives += [Message(rank, self._tag(bucket, row), part) for row, part in enumerate(rows)]
        return self._traffic(sends, receives)

    @property
    def volumes(self) -> list[Volume]:
        """Of the gradients of each bucket, and then of its parameters: in the order in which traffics are made."""
        sums = [rows.stop - rows.start for rows in self._machine_rows]
        return volumes(self._comm.machines, self._cuts, sums, self.params.itemsize)

    def _summed_here(self, bucket: int, columns: slice) -> Array:
        """The sums (nodes, columns) of this machine's parts, which may be the partial gradients of one rank alone."""
        if self.nodes == self._sent_nodes:
            sums: Array = self.partials[:, columns]
            return sums
        sums = zeros((len(self._sent_nodes), columns.stop - columns.start), self.partials.dtype)
        self._sums[bucket] += self._sum_here(sums, columns)
        return sums

    def _sum_here(self, sums: Array, columns: slice) -> list[Call]:
        parts, text = self._every_part[:, columns], "sums = tree_sum(partial gradients of this machine)"
        return [
            self._tree_sum(out, parts, self._local_nodes, node, text)
            for out, node in zip(sums, self._sent_nodes, strict=True)
            if out.size
        ]

    def _parameter_traffic(self, bucket: int) -> Traffic:
        """My slice to one rank of each other machine, and from there the slices that I get for this one."""
        tag = self._tag(len(self._buckets)) + bucket
        own = self.params[self._slice(bucket, self._comm.rank)]
        sends = [Message(rank, tag, own) for _, rank in self._partners]
        receives = [Message(rank, tag, self.params[self._slice(bucket, rank)]) for rank in self._served]
        return self._traffic(sends, receives)

    def _traffic(self, sends: list[Message], receives: list[Message]) -> Traffic:
        """Nobody sends what is empty."""
        return self._comm.traffic([m for m in sends if m.array.size], [m for m in receives if m.array.size])

    def forward(self, calls: Sequence[Call]) -> list[Call]:
        """Each bucket is waited for before the first call that reads it."""
        steps, waiting = [], list(range(len(self._buckets)))
        for call in calls:
            for bucket in [b for b in waiting if _touches(call, self.params[None, self._buckets[b]])]:
                steps += self._arrive(bucket)
                waiting.remove(bucket)
            steps.append(call)
        unread = [call for bucket in waiting for call in self._arrive(bucket)]
        return unread + steps

    def _arrive(self, bucket: int) -> list[Call]:
        return [Call(self._parameters[bucket].wait, (), "wait for parameters", "exchange"), *self._wait]

    def backward(self, calls: Sequence[Call]) -> list[Call]:
        """Each bucket sets off after the last call that writes it."""
        ends = self._ends(calls)
        return [step for number, call in enumerate(calls) for step in (call, *self._set_off(ends, number))]

    def backward_and_update(self, calls: Sequence[Call], update: Callable[[int], list[Call]]) -> list[Call]:
        """A bucket is updated when the next one has set off, unless its parameters are still read.

        The last ones are updated at the end. The first layer's parameters are needed first. The small message would
        have to wait behind the others.
        """
        ends, reads = self._ends(calls), [_last(calls, self.params[None, bucket]) for bucket in self._buckets]
        steps, late = [], list(range(len(ends)))
        for number, call in enumerate(calls):
            steps += [call, *self._set_off(ends, number)]
            for bucket in [b for b in late if number in ends and ends[b] < number and reads[b] <= number]:
                steps += [*update(bucket), self._send_parameters(bucket)]
                late.remove(bucket)
        steps += [call for bucket in late for call in update(bucket)]
        first, *others = [self._send_parameters(bucket) for bucket in reversed(late)]
        return [*steps, first, *self.agree(), *others]

    def _ends(self, calls: Sequence[Call]) -> list[int]:
        """For each bucket the last call that writes its gradients."""
        return [_last(calls, self.partials[:, bucket]) for bucket in self._buckets]

    def _set_off(self, ends: Sequence[int], number: int) -> list[Call]:
        """What follows a call: the wait tells that no rank of this machine makes an earlier call any more."""
        steps = list(self._wait) if number in ends else []
        for bucket, end in enumerate(ends):
            if end == number:
                start = Call(self._gradients[bucket].start, (), "send gradients", "exchange")
                steps += [*self._sums[bucket], start]
        return steps

    def _send_parameters(self, bucket: int) -> Call:
        return Call(self._parameters[bucket].start, (), "send parameters", "exchange")

    def collect(self, bucket: int) -> list[Call]:
        return [Call(self._gradients[bucket].wait, (), "wait for gradients", "exchange")]

    def sum_parts(self, bucket: int, gradient: Array, columns: slice) -> list[Call]:
        text = "gradient = tree_sum(those of the machines)"
        return [self._tree_sum(gradient, self.parts[bucket][:, columns], self._machine_nodes, self._root, text)]

    def agree(self) -> list[Call]:
        return [self._agreement.call(), self._sum_tails(self._agreement.all_tails)]

    def share(self) -> list[Call]:
        """The first layer's parameters first: they are needed first."""
        return [self._send_parameters(bucket) for bucket in reversed(range(len(self._buckets)))]

    def settle(self) -> None:
        for call in [call for bucket in range(len(self._buckets)) for call in self._arrive(bucket)]:
            while call() == WAITING:
                self.waiting()


def _last(calls: Sequence[Call], rows: Array) -> int:
    """The last call that has an array in one of these rows, or -1."""
    return max((number for number, call in enumerate(calls) if _touches(call, rows)), default=-1)


def _touches(call: Call, rows: Array) -> bool:
    """Whether a call has an array that lies in one of these rows among its arguments."""
    arrays = [argument for argument in call.arguments if isinstance(argument, np.ndarray)]
    return any(np.may_share_memory(array, row) for array in arrays for row in rows)
