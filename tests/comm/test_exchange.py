"""The exchange: the gradient's bits are those of the tree over shards, on any number of ranks and machines."""

import threading
from functools import partial
from itertools import chain

import numpy as np
import pytest

from distprop.comm import slices
from distprop.comm.exchange import make_exchange
from distprop.comm.serial import Serial
from distprop.comm.slices import cut_into_buckets, cut_rows
from distprop.comm.threads import run_ranks
from distprop.errors import UsageError
from distprop.kernels.norms import BLOCK
from distprop.kernels.tape import Call, Tape

LAYERS = (0, 3, BLOCK + 1, 2 * BLOCK)
LENGTHS = (1, 7, BLOCK - 1, BLOCK, 3 * BLOCK + 5)
PLACES = [  # ranks on each machine
    *([size] for size in range(1, 9)),
    *([1] * size for size in range(2, 9)),
    [2, 1], [1, 2], [2, 3], [1, 3, 1], [4, 4], [1, 5, 2], [3, 3, 2],
]  # fmt: skip
ON = pytest.mark.parametrize("machines", PLACES, ids=lambda machines: "+".join(map(str, machines)))
ON_SOME = pytest.mark.parametrize(
    "machines", [[1], [3], [1, 1], [1, 1, 1], [2, 3], [1, 5, 2]], ids=lambda machines: "+".join(map(str, machines))
)


@pytest.fixture(params=["one bucket", "buckets"])
def layers(request, monkeypatch):
    """Where layers begin. Buckets get as small as they can be."""
    monkeypatch.setattr(slices, "BUCKET_BYTES", 1)
    return LAYERS if request.param == "buckets" else ()


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


def write(target, values):
    target[:] = values


def forward_pass(exchange, seen):
    """As a network's: a call for each bucket, the first layer's first, each reading its parameters."""

    def read(params):
        seen.append(params.copy())

    buckets = reversed(cut_into_buckets(exchange.params.size, 4, LAYERS))
    return exchange.forward([Call(read, (exchange.params[bucket],), "") for bucket in buckets])


def backward_pass(exchange, shards, length, dtype, step):
    """As a network's: two calls for each bucket, the output layer's first, each writing a part of its gradients.

    Parameters are read as well, some of them when the next bucket is complete already; the last call writes.
    """
    calls, reads, expected = [], [], tree_sum(leaves(shards, length, dtype))
    for bucket in cut_into_buckets(length, 4, LAYERS):
        middle = (bucket.start + bucket.stop) // 2
        if bucket.start == 0:
            calls, reads = [*calls, *reads], []
        for columns in (slice(middle, bucket.stop), slice(bucket.start, middle)):
            for part, (first, last) in zip(exchange.partials, exchange.nodes, strict=True):
                values = tree_sum(leaves(shards, length, dtype)[first:last])
                calls.append(Call(write, (part[columns], values[columns]), ""))
        calls += reads
        reads = [Call(check_unchanged, (exchange.params[bucket], step, expected[bucket]), "")]
    return calls


def check_unchanged(params, step, expected):
    """They are those of the step before, whole."""
    assert params.tobytes() == ((step - 1) * expected).tobytes() or (step == 1 and not params.any())


def gradients_of(exchange):
    """The owned slice of each bucket's gradient, and the calls that sum it, as a step does."""
    gradients, calls = [], []
    for bucket, parts in enumerate(exchange.parts):
        gradients.append(parts[0] if len(parts) == 1 else np.full(parts.shape[1], np.nan, parts.dtype))
        summed = exchange.sum_parts(bucket, gradients[-1], slice(0, parts.shape[1])) if len(parts) > 1 else []
        calls.append([*exchange.collect(bucket), *summed])
    return gradients, calls


def reduced(form, shards, length, dtype, at_once, layers, comm):
    """Three steps on one rank, so that what is left of one would be noticed in the next."""
    exchange = make_exchange(form, comm, length, shards, dtype, layers)
    gradients, collect = gradients_of(exchange)
    seen, step = [], np.zeros(1, dtype)

    def update(params, gradient):
        params[:] = step * gradient

    updates = [
        [Call(update, (exchange.params[owned], gradient), "")]
        for owned, gradient in zip(exchange.owned, gradients, strict=True)
    ]
    forward, backward = forward_pass(exchange, seen), backward_pass(exchange, shards, length, dtype, step)
    if at_once:
        calls = [*forward, *exchange.backward_and_update(backward, lambda bucket: collect[bucket] + updates[bucket])]
    else:
        calls = [*forward, *exchange.backward(backward), *chain(*collect), *exchange.agree()]
        calls += [*chain(*updates), *exchange.share()]
    for _ in range(3):
        step += 1
        run(exchange, calls)
        summed = np.concatenate(gradients)
        exchange.partials[:] = np.nan  # as the next step would overwrite them
    exchange.settle()
    params = exchange.params.copy()
    comm.barrier()
    return exchange.owned, summed, params, exchange.gather(summed), seen


@ON
@pytest.mark.parametrize("at_once", [True, False])
def test_the_ordered_gradient_has_the_bits_of_the_tree(machines, at_once, layers):
    size = sum(machines)
    for shards in {size, 8, 13}:
        for length in LENGTHS:
            expected = tree_sum(leaves(shards, length, np.float32))
            work = partial(reduced, "ordered", shards, length, np.float32, at_once, layers)
            results = run_ranks(size, work, machines=machines)
            for owned, gradient, params, gathered, seen in results:
                assert gradient.dtype == np.float32
                assert gradient.tobytes() == np.concatenate([expected[own] for own in owned]).tobytes()
                assert params.tobytes() == (3 * expected).tobytes() and gathered.tobytes() == expected.tobytes()
                assert np.concatenate(seen).tobytes() == np.array([0 * abs(expected), expected, 2 * expected]).tobytes()
            elements = [i for owned, *_ in results for own in owned for i in range(length)[own]]
            assert sorted(elements) == list(range(length))


@pytest.mark.parametrize("machines", [[1, 1], [1, 1, 1], [2, 1], [3, 1, 1]], ids=str)
def test_a_machine_that_is_behind_holds_up_nobody_who_has_something_to_compute(machines, monkeypatch):
    """The last rank begins when the first one is through: what it sends is waited for at the end only."""
    monkeypatch.setattr(slices, "BUCKET_BYTES", 1)
    shards, length, through = 8, 3 * BLOCK + 5, threading.Event()
    expected = tree_sum(leaves(shards, length, np.float32))

    def work(comm):
        exchange = make_exchange("ordered", comm, length, shards, np.float32, LAYERS)
        gradients, collect = gradients_of(exchange)
        step = np.ones(1, np.float32)
        backward = backward_pass(exchange, shards, length, np.float32, step)
        if comm.rank == 0:
            backward.append(Call(through.set, (), ""))
        if comm.rank == comm.size - 1:
            backward.insert(0, Call(wait_for, (through,), ""))
        updates = [
            [Call(write, (exchange.params[owned], gradient), "")]
            for owned, gradient in zip(exchange.owned, gradients, strict=True)
        ]
        calls = exchange.backward_and_update(backward, lambda bucket: collect[bucket] + updates[bucket])
        run(exchange, [*forward_pass(exchange, []), *calls])
        exchange.settle()
        params = exchange.params.copy()
        comm.barrier()
        return params

    for params in run_ranks(sum(machines), work, machines=machines):
        assert params.tobytes() == expected.tobytes()


def wait_for(event):
    assert event.wait(10)


def test_another_order_would_have_been_noticed():
    rows = leaves(8, 64, np.float32)
    assert tree_sum(rows).tobytes() != rows.sum(axis=0, dtype=np.float32).tobytes()
    assert tree_sum(rows).tobytes() != tree_sum(np.roll(rows, 1, axis=0)).tobytes()


@ON_SOME
def test_the_allreduce_form_is_equal_up_to_rounding(machines):
    rows = leaves(8, 1500, np.float64)
    results = run_ranks(sum(machines), partial(reduced, "allreduce", 8, 1500, np.float64, False, ()), machines=machines)
    for owned, gradient, *_ in results:
        assert owned == (slice(0, 1500),)
        np.testing.assert_allclose(gradient, rows.sum(axis=0), atol=1e-12 * np.abs(rows).sum(axis=0).max())


@ON_SOME
@pytest.mark.parametrize("form", ["ordered", "allreduce"])
def test_every_rank_knows_the_same_totals_blocks_and_words(machines, form, layers):
    size, shards, length = sum(machines), 13, 4 * BLOCK + 3
    tails = leaves(shards, 2, np.float64)
    blocks = np.arange(1.0, 6.0)

    def work(comm):
        exchange = make_exchange(form, comm, length, shards, np.float32, layers)
        exchange.tails[:] = [tree_sum(tails[first:last]) for first, last in exchange.nodes]
        for mine, own in zip(exchange.blocks, exchange.owned, strict=True):
            mine[:] = blocks[own.start // BLOCK : -(-own.stop // BLOCK)]
        exchange.words[:] = comm.rank * np.arange(slices.WORDS)
        backward = exchange.backward([Call(write, (exchange.partials, 0), "")])
        run(exchange, [*backward, *chain(*gradients_of(exchange)[1]), *exchange.agree()])
        found = exchange.totals.tobytes(), exchange.all_blocks.tolist(), exchange.all_words.tolist()
        comm.barrier()
        return found

    words = [(rank * np.arange(slices.WORDS)).tolist() for rank in range(size)]
    assert run_ranks(size, work, machines=machines) == [(tree_sum(tails).tobytes(), blocks.tolist(), words)] * size


@pytest.mark.parametrize("form", ["ordered", "allreduce"])
def test_more_ranks_than_shards_is_one_error_that_names_the_cure(form):
    with pytest.raises(
        UsageError, match=r"5 ranks, but .* only 4 shards: .* set shards = 5 or more under \[training\]"
    ):
        run_ranks(5, lambda comm: make_exchange(form, comm, 10, 4, np.float32))


def test_one_rank_alone_reads_its_gradient_where_it_was_written():
    exchange = make_exchange("ordered", Serial(), 100, 8, np.float32, activations=1)
    assert exchange.nodes == ((0, 8),) and exchange.owned == (slice(0, 100),)
    assert np.shares_memory(exchange.parts[0], exchange.partials) and exchange.collect(0) == exchange.share() == []


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ((784, 1024), [0, 196, 392, 588, 784]),
        ((784, 256), [0, 784]),
        ((512, 512), [0, 256, 512]),
        ((1, 10**6), [0, 1]),
        ((3, 10**6), [0, 1, 2, 3]),
    ],
)
def test_large_weights_are_cut_into_a_few_blocks_of_rows(shape, rows):
    assert cut_rows(shape, 4) == rows
