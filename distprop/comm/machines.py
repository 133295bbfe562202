"""The exchange between several machines, while the ranks compute.

The ranks of a machine share one copy of the parameters and read each other's partial gradients, as on one machine. Of
all partial gradients of a machine, each owner of a slice elsewhere gets only their sums, those of the machine's
canonical nodes of the tree. The ranks of a machine share the sending: for each machine, a rank has one partner there.

Gradients travel during the backward pass: a bucket sets off as soon as it is complete, and is updated between two
others if all of it has come by then. Updated parameters travel during the next forward pass, and are waited for where
they are read. What is under way shares the link, so those that are needed first are sent first, a few at a time.
"""

from collections.abc import Callable, Sequence
from functools import partial

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
from distprop.kernels.tape import Call, Conditional, Item

UNDER_WAY = 4  # buckets of parameters: what is announced takes a while until it travels


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
        # Buckets whose gradients have set off: those that aren't updated, and those whose parameters aren't sent yet.
        self._late: set[int] = set()
        self._unsent: set[int] = set()
        self._order = list(reversed(range(len(buckets))))  # in which parameters are needed

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
        firsts = [_first(calls, self.params[None, bucket]) for bucket in self._buckets]
        self._order = sorted(range(len(firsts)), key=lambda bucket: (firsts[bucket], -bucket))
        steps, done = [], 0
        for place, bucket in enumerate(self._order):
            steps += [*calls[done : firsts[bucket]], *self._arrive(place)]
            done = firsts[bucket]
        return [*steps, *calls[done:]]

    def _arrive(self, place: int) -> list[Call]:
        """Parameters have come, by their place in the order, and further ones set off."""
        wait = Call(self._parameters[self._order[place]].wait, (), "wait for parameters", "exchange")
        return [wait, self._send(place + UNDER_WAY), *self._wait]

    def backward(self, calls: Sequence[Call]) -> list[Call]:
        """Each bucket sets off after the last call that writes it."""
        ends = self._ends(calls)
        return [step for number, call in enumerate(calls) for step in (call, *self._set_off(ends, number))]

    def backward_and_update(self, calls: Sequence[Call], update: Callable[[int], list[Call]]) -> list[Item]:
        """When a bucket has set off, earlier ones are updated that have come and whose parameters aren't read any more.

        The others are updated at the end: a machine that is behind holds up nobody who has something to compute. The
        first layer's parameters are needed first. The small message would have to wait behind the others.
        """
        ends, reads = self._ends(calls), [_last(calls, self.params[None, bucket]) for bucket in self._buckets]
        updates = [tuple(update(bucket)) for bucket in range(len(ends))]
        steps: list[Item] = []
        for number, call in enumerate(calls):
            steps += [call, *self._set_off(ends, number)]
            for bucket in [b for b, end in enumerate(ends) if number in ends and end < number and reads[b] <= number]:
                steps.append(Conditional(partial(self._has_come, bucket), updates[bucket]))
                send = Call(self._start_parameters, (bucket,), "send parameters", "exchange")
                steps.append(Conditional(partial(self._is_alone, bucket), (send,)))
        steps += [Conditional(partial(self._late.__contains__, bucket), calls) for bucket, calls in enumerate(updates)]
        return [*steps, self._send(1), *self.agree(), *self.share()]

    def _has_come(self, bucket: int) -> bool:
        """Whether a bucket can be updated now, without waiting."""
        return bucket in self._late and self._gradients[bucket].has_arrived()

    def _ends(self, calls: Sequence[Call]) -> list[int]:
        """For each bucket the last call that writes its gradients."""
        return [_last(calls, self.partials[:, bucket]) for bucket in self._buckets]

    def _set_off(self, ends: Sequence[int], number: int) -> list[Call]:
        """What follows a call: the wait tells that no rank of this machine makes an earlier call any more."""
        steps = list(self._wait) if number in ends else []
        for bucket, end in enumerate(ends):
            if end == number:
                steps += [*self._sums[bucket], Call(self._start_gradients, (bucket,), "send gradients", "exchange")]
        return steps

    def _start_gradients(self, bucket: int) -> None:
        self._late.add(bucket)
        self._unsent.add(bucket)
        self._gradients[bucket].start()

    def collect(self, bucket: int) -> list[Call]:
        return [Call(self._wait_for_gradients, (bucket,), "wait for gradients", "exchange")]

    def _wait_for_gradients(self, bucket: int) -> None:
        self._gradients[bucket].wait()
        self._late.remove(bucket)

    def _send(self, places: int) -> Call:
        return Call(self._send_first, (places,), "send parameters", "exchange")

    def _send_first(self, places: int) -> None:
        """The parameters at so many first places of the order, and others while few are under way.

        Without the former ranks would wait for each other: what one has sent early may wait for what another hasn't.
        """
        for place, bucket in enumerate(self._order):
            if bucket in self._unsent and (place < places or self._under_way() < UNDER_WAY):
                self._start_parameters(bucket)

    def _is_alone(self, bucket: int) -> bool:
        """Whether parameters can be sent already: they hold up the gradients that follow by one bucket at most."""
        return bucket in self._unsent and bucket not in self._late and not self._under_way()

    def _start_parameters(self, bucket: int) -> None:
        self._unsent.remove(bucket)
        self._parameters[bucket].start()

    def _under_way(self) -> int:
        return sum(not traffic.has_arrived() for traffic in self._parameters)

    def sum_parts(self, bucket: int, gradient: Array, columns: slice) -> list[Call]:
        text = "gradient = tree_sum(those of the machines)"
        return [self._tree_sum(gradient, self.parts[bucket][:, columns], self._machine_nodes, self._root, text)]

    def agree(self) -> list[Call]:
        return [self._agreement.call(), self._sum_tails(self._agreement.all_tails)]

    def share(self) -> list[Call]:
        """Those that are needed first; the others follow as these arrive."""
        return [self._send(UNDER_WAY)]

    def settle(self) -> None:
        self._send_first(len(self._order))
        for call in [call for place in range(len(self._order)) for call in self._arrive(place)]:
            while call() == WAITING:
                self.waiting()


def _first(calls: Sequence[Call], rows: Array) -> int:
    """The first call that has an array in one of these rows, or 0."""
    return next((number for number, call in enumerate(calls) if _touches(call, rows)), 0)


def _last(calls: Sequence[Call], rows: Array) -> int:
    """The last call that has an array in one of these rows, or -1."""
    return max((number for number, call in enumerate(calls) if _touches(call, rows)), default=-1)


def _touches(call: Call, rows: Array) -> bool:
    """Whether a call has an array that lies in one of these rows among its arguments."""
    arrays = [argument for argument in call.arguments if isinstance(argument, np.ndarray)]
    return any(np.may_share_memory(array, row) for array in arrays for row in rows)
