"""The exchange: the gradient's bits are those of the tree over shards, on any number of ranks."""

from functools import partial

import numpy as np
import pytest

from distprop.comm.exchange import WORDS, make_exchange
from distprop.comm.serial import Serial
from distprop.comm.threads import run_ranks
from distprop.errors import UsageError
from distprop.kernels.norms import BLOCK
from distprop.kernels.tape import Tape

LENGTHS = (1, 7, BLOCK - 1, BLOCK, 3 * BLOCK + 5)
SHARES = pytest.mark.parametrize("shares_memory", [True, False])


def leaves(shards, length, dtype):
    """One gradient a shard."""
    return np.random.default_rng(shards * 100 + length).normal(size=(shards, length)).astype(dtype)


def tree_sum(rows):
    """The definition, by recursion."""
    if len(rows) == 1:
        return rows[0].copy()
    left = 1
    while 2 * left < len(rows):
        left *= 2
    return tree_sum(rows[:left]) + tree_sum(rows[left:])


def run(exchange, calls):
    assert Tape(calls).run(1, exchange.waiting) == 0


def gradient_of(exchange):
    """The owned slice of the gradient, as a step sums it, and the calls for it."""
    gradient = np.full(exchange.parts.shape[1], np.nan, exchange.parts.dtype)
    if len(exchange.parts) == 1:
        return exchange.parts[0], exchange.collect()
    return gradient, [*exchange.collect(), *exchange.sum_parts(gradient, slice(0, len(gradient)))]


def reduced(form, shards, length, dtype, at_once, comm):
    """Two steps on one rank, so that what is left of the first one would be noticed in the second."""
    exchange = make_exchange(form, comm, length, shards, dtype)
    gradient, collect = gradient_of(exchange)
    for _ in range(2):
        for part, (first, last) in zip(exchange.partials, exchange.nodes, strict=True):
            part[:] = tree_sum(leaves(shards, length, dtype)[first:last])  # as a backward pass would leave it
        run(exchange, collect)
        if not at_once:
            run(exchange, exchange.agree())
        exchange.params[exchange.owned] = gradient
        run(exchange, exchange.agree_and_share() if at_once else exchange.share())
        params = exchange.params.copy()
        summed = gradient.copy()
        comm.barrier()
    return exchange.owned, summed, params, exchange.gather(summed)


@SHARES
@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("at_once", [True, False])
def test_the_ordered_gradient_has_the_bits_of_the_tree(size, shares_memory, at_once):
    for shards in {size, 8, 13}:
        for length in LENGTHS:
            expected = tree_sum(leaves(shards, length, np.float32))
            work = partial(reduced, "ordered", shards, length, np.float32, at_once)
            results = run_ranks(size, work, shares_memory)
            for owned, gradient, params, gathered in results:
                assert gradient.dtype == np.float32
                assert gradient.tobytes() == expected[owned].tobytes()
                assert params.tobytes() == gathered.tobytes() == expected.tobytes()
            assert [i for owned, *_ in results for i in range(length)[owned]] == list(range(length))


def test_another_order_would_have_been_noticed():
    rows = leaves(8, 64, np.float32)
    assert tree_sum(rows).tobytes() != rows.sum(axis=0, dtype=np.float32).tobytes()
    assert tree_sum(rows).tobytes() != tree_sum(np.roll(rows, 1, axis=0)).tobytes()


@SHARES
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_the_allreduce_form_is_equal_up_to_rounding(size, shares_memory):
    rows = leaves(8, 1500, np.float64)
    results = run_ranks(size, partial(reduced, "allreduce", 8, 1500, np.float64, False), shares_memory)
    for owned, gradient, *_ in results:
        assert owned == slice(0, 1500)
        np.testing.assert_allclose(gradient, rows.sum(axis=0), atol=1e-12 * np.abs(rows).sum(axis=0).max())


@SHARES
@pytest.mark.parametrize("form", ["ordered", "allreduce"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
def test_every_rank_knows_the_same_totals_blocks_and_words(size, form, shares_memory):
    shards, length = 13, 4 * BLOCK + 3
    tails = leaves(shards, 2, np.float64)
    blocks = np.arange(1.0, 6.0)

    def work(comm):
        exchange = make_exchange(form, comm, length, shards, np.float32)
        exchange.tails[:] = [tree_sum(tails[first:last]) for first, last in exchange.nodes]
        own = exchange.owned
        exchange.blocks[:] = blocks[own.start // BLOCK : -(-own.stop // BLOCK)]
        exchange.words[:] = comm.rank * np.arange(WORDS)
        run(exchange, [*exchange.collect(), *exchange.agree()])
        found = exchange.totals.tobytes(), exchange.all_blocks.tolist(), exchange.all_words.tolist()
        comm.barrier()
        return found

    words = [(rank * np.arange(WORDS)).tolist() for rank in range(size)]
    assert run_ranks(size, work, shares_memory) == [(tree_sum(tails).tobytes(), blocks.tolist(), words)] * size


@pytest.mark.parametrize("form", ["ordered", "allreduce"])
def test_more_ranks_than_shards_is_one_error_that_names_the_cure(form):
    with pytest.raises(
        UsageError, match=r"5 ranks, but .* only 4 shards: .* set shards = 5 or more under \[training\]"
    ):
        run_ranks(5, lambda comm: make_exchange(form, comm, 10, 4, np.float32))


def test_one_rank_alone_reads_its_gradient_where_it_was_written():
    exchange = make_exchange("ordered", Serial(), 100, 8, np.float32)
    assert exchange.nodes == ((0, 8),) and exchange.owned == slice(0, 100)
    assert np.shares_memory(exchange.parts, exchange.partials) and exchange.collect() == exchange.share() == []
