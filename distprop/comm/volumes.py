"""How much an exchange between machines sends: what a model of its time is made of."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from distprop.comm.routes import ranges_of


class Volume(NamedTuple):
    """messages: of the rank that sends most; bytes: on the link of the machine that sends or gets most, one way."""

    messages: int
    bytes: int


def volumes(machines: Sequence[int], cuts: Sequence[Sequence[int]], sums: Sequence[int], itemsize: int) -> list[Volume]:
    """Of the gradients of each bucket, and then of its parameters.

    cuts: of each bucket, where its slices begin and end; sums: how many a machine sends of each slice.
    """
    buckets = [_owned(machines, of_bucket, itemsize) for of_bucket in cuts]
    return [_gradients(machines, owned, sums) for owned in buckets] + [_parameters(owned) for owned in buckets]


def _owned(machines: Sequence[int], cuts: Sequence[int], itemsize: int) -> list[Volume]:
    """Of each machine's ranks: how many slices that aren't empty, and their bytes."""
    sizes = [itemsize * (last - first) for first, last in pairwise(cuts)]
    of_machines = [[sizes[rank] for rank in ranks] for ranks in ranges_of(machines)]
    return [Volume(sum(size > 0 for size in of_one), sum(of_one)) for of_one in of_machines]


def _gradients(machines: Sequence[int], owned: Sequence[Volume], sums: Sequence[int]) -> Volume:
    slices, size, all_sums = sum(one.messages for one in owned), sum(one.bytes for one in owned), sum(sums)
    messages, sent = 0, 0
    for ranks, own, count in zip(machines, owned, sums, strict=True):
        messages = max(messages, count * math.ceil((slices - own.messages) / ranks))
        sent = max(sent, count * (size - own.bytes), (all_sums - count) * own.bytes)
    return Volume(messages, sent)


def _parameters(owned: Sequence[Volume]) -> Volume:
    size, others = sum(one.bytes for one in owned), len(owned) - 1
    return Volume(others, max(max(others * one.bytes, size - one.bytes) for one in owned))
