"""Who computes which shard: any number of ranks adds up the very same tree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprop.comm.shards import (
    MERGE,
    canonical_nodes,
    nodes_of_ranks,
    owned_shards,
    passes_of,
    plan_depth,
    shard_bounds,
    summation_plan,
)

MOST = 33


def tree(first, last):
    """The left-complete tree over shards [first, last) as nested pairs: its left part is the largest power of two."""
    if last - first == 1:
        return first
    left = 1
    while 2 * left < last - first:
        left *= 2
    return (tree(first, first + left), tree(first + left, last))


def subtrees(first, last):
    """All nodes of the same tree as runs of shards."""
    found = {(first, last)}
    if last - first > 1:
        left = 1
        while 2 * left < last - first:
            left *= 2
        found |= subtrees(first, first + left) | subtrees(first + left, last)
    return found


def carried_out(plan, parts):
    """What a plan makes of symbolic parts, and the most that ever waited."""
    stack, most = [], 0
    for entry in plan.tolist():
        if entry == MERGE:
            right, left = stack.pop(), stack.pop()
            stack.append((left, right))
        else:
            stack.append(parts[entry])
        most = max(most, len(stack))
    assert len(stack) == 1
    return stack[0], most


@pytest.mark.parametrize("shards", range(1, MOST + 1))
def test_all_ranks_nodes_together_add_up_the_very_tree(shards):
    for size in range(1, shards + 1):
        nodes = [node for of_rank in nodes_of_ranks(size, shards) for node in of_rank]
        plan = summation_plan(nodes, (0, shards))
        result, most = carried_out(plan, [tree(*node) for node in nodes])
        assert result == tree(0, shards)
        assert plan_depth(plan) == most and plan.dtype == np.int32


@pytest.mark.parametrize("shards", range(1, MOST + 1))
def test_nodes_are_subtrees_that_cover_each_run_exactly_once(shards):
    known = subtrees(0, shards)
    for size in range(1, shards + 1):
        for rank, nodes in enumerate(nodes_of_ranks(size, shards)):
            assert set(nodes) <= known
            covered = [shard for first, last in nodes for shard in range(first, last)]
            assert covered == list(range(*owned_shards(rank, size, shards))) and covered


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 8, 13, 16])
def test_no_two_nodes_of_a_run_could_be_one_larger_subtree(shards):
    known = subtrees(0, shards)
    for first in range(shards):
        for last in range(first + 1, shards + 1):
            nodes = canonical_nodes((first, last), (0, shards))
            inside = {node for node in known if first <= node[0] and node[1] <= last}
            maximal = {a for a in inside if not any(b != a and b[0] <= a[0] and a[1] <= b[1] for b in inside)}
            assert set(nodes) == maximal


@given(st.integers(1, 70), st.integers(1, 70))
def test_the_runs_of_all_ranks_are_all_shards_in_order(size, shards):
    runs = [owned_shards(rank, size, shards) for rank in range(size)]
    assert [shard for run in runs for shard in range(*run)] == list(range(shards))


@given(st.integers(0, 5000), st.integers(1, 70))
def test_shards_part_any_number_of_samples_evenly(samples, shards):
    bounds = shard_bounds(samples, shards)
    assert bounds.dtype == np.int64 and bounds[0] == 0 and bounds[-1] == samples and len(bounds) == shards + 1
    counts = np.diff(bounds)
    assert counts.min() >= 0 and counts.max() - counts.min() <= 1


@pytest.mark.parametrize(("run", "passes", "expected"), [
    ((0, 8), 1, ((0, 8),)), ((3, 8), 2, ((3, 5), (5, 8))), ((4, 7), 9, ((4, 5), (5, 6), (6, 7))),
])  # fmt: skip
def test_a_run_of_shards_is_cut_into_passes(run, passes, expected):
    assert passes_of(run, passes) == expected
