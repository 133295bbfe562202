"""Between several machines: which rank sends to which, so that the ranks of a machine share the sending.

machines: how many ranks each has, the first ones on the first machine, and so on.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise


def ranges_of(machines: Sequence[int]) -> list[range]:
    """The ranks of each machine."""
    return [range(first, last) for first, last in pairwise(accumulate(machines, initial=0))]


def partners(rank: int, machines: Sequence[int]) -> list[tuple[int, int]]:
    """(machine, rank) of those who send this rank sums for its slices, and get these slices for their machine."""
    return [(machine, ranks[index % len(ranks)]) for index, machine, ranks, _ in _others(rank, machines)]


def served(rank: int, machines: Sequence[int]) -> list[int]:
    """The ranks elsewhere to whom this rank sends its machine's sums, and whose slices it gets."""
    return [other for index, _, ranks, here in _others(rank, machines) for other in ranks[index :: len(here)]]


def _others(rank: int, machines: Sequence[int]) -> Iterator[tuple[int, int, range, range]]:
    """The rank's place on its machine; another machine and its ranks; the ranks here.

    From the next machine on, so that not all send to the first one at first.
    """
    ranges = list(enumerate(ranges_of(machines)))
    own, here = next((machine, ranks) for machine, ranks in ranges if rank in ranks)
    for machine, ranks in ranges[own + 1 :] + ranges[:own]:
        yield rank - here.start, machine, ranks, here
