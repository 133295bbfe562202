"""What ranks must have alike: before the first step, and the parameters ever after."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from distprop.comm.serial import Serial
from distprop.comm.threads import run_ranks
from distprop.config.optimizers import Adam
from distprop.errors import DisagreementError, DivergedError
from distprop.kernels.digests import slice_digest
from distprop.kernels.step import STEP
from distprop.kernels.tape import Call
from distprop.training import guards, loop
from distprop.training.loop import CHECKPOINT
from distprop.training.step import Step

MASK = 2**64 - 1


def mixed(z):
    """SplitMix64's finaliser, in Python's integers."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def digest_by_definition(values):
    bits = values.view({4: np.int32, 8: np.int64}[values.itemsize]).tolist()
    return sum(mixed((b + (i + 1) * 0x9E3779B97F4A7C15) & MASK) for i, b in enumerate(bits)) & MASK


def digest_of(values, first=0):
    digest = np.zeros(1, np.uint64)
    slice_digest(digest, values, first)
    return int(digest[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_digest_is_its_definition_and_that_of_slices_add_up(dtype):
    values = np.random.default_rng(3).normal(size=101).astype(dtype)
    values[:4] = np.nan, -np.inf, 0.0, -0.0
    whole = digest_by_definition(values)
    assert digest_of(values) == whole and digest_of(values[:0]) == 0
    for cuts in ([0, 101], [0, 1, 101], [0, 33, 66, 101], range(102)):
        parts = [digest_of(values[a:b], a) for a, b in pairwise(cuts)]
        assert sum(parts) & MASK == whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_flipped_bit_and_every_exchange_of_two_elements_changes_the_digest(dtype):
    values = np.random.default_rng(4).normal(size=37).astype(dtype)
    whole = digest_of(values)
    for place in range(values.size):
        for bit in range(8 * values.itemsize):
            other = values.copy()
            other.view(np.uint8)[place * values.itemsize + bit // 8] ^= 1 << bit % 8
            assert digest_of(other) != whole
        other = values.copy()
        other[[place, place - 1]] = other[[place - 1, place]]
        assert digest_of(other) != whole


class Flips:
    """Flips a bit of the parameters after so many steps: in the part whose digest one rank is about to compute."""

    def __init__(self, monkeypatch, rank, steps_done, place=None, bit=20):
        original = Step._calls

        def calls(step, samples):
            made = original(step, samples)
            if step.exchange._comm.rank != rank:
                return made
            at = next(n for n, call in enumerate(made) if call.text.startswith("digest of parameters"))

            def flip():
                if step._clock[STEP] == steps_done:
                    at = step.exchange.part.start if place is None else place
                    step.exchange.params.view(np.uint32)[at] ^= np.uint32(1 << bit)

            return [*made[:at], Call(flip, (), "flip"), *made[at:]]

        monkeypatch.setattr(Step, "_calls", calls)


def config_of(lab, every, exchange="ordered"):
    training = replace(lab.short, epochs=3, log_every=every, exchange=exchange)
    return lab.config_of(lab.network, optimizer=Adam(0.01), training=training)


def ended_alike(ranks):
    """The text of the error that all ranks have raised after the same step, and the steps done."""
    assert all(isinstance(rank.error, DisagreementError) and rank.error.exit_code == 8 for rank in ranks)
    ((text, steps),) = {(str(rank.error), len(rank.seen.steps)) for rank in ranks}
    assert "\n" not in text and all(rank.seen.checkpoints == [] for rank in ranks)
    return text, steps


@pytest.mark.parametrize("rank", range(4))
@pytest.mark.parametrize("every", [1, 4])
def test_a_flipped_bit_in_one_ranks_copy_is_caught_within_n_steps_and_the_rank_named(lab, monkeypatch, rank, every):
    config = config_of(lab, every, "allreduce")
    for flipped in range(10):
        with monkeypatch.context() as patch:
            Flips(patch, rank, flipped)
            ranks = lab.train(4, config, lab.training, wishes={12: CHECKPOINT})
        text, steps = ended_alike(ranks)
        found = -(-flipped // every) * every
        assert steps == found and found - flipped < every
        assert text.startswith(f"the parameters differ after step {found}: by their digests, rank {rank} has ")
        assert f"; they were the same after step {max(found - every, 0)}; " in text and text.count("rank ") == 1


@pytest.mark.parametrize(
    ("machines", "rank", "named"),
    [
        *(([1, 1, 1], rank, f"rank {rank} has") for rank in range(3)),
        ([2, 1, 2], 1, "ranks 0 and 1 have"),
        ([2, 1, 2], 2, "rank 2 has"),
        ([1, 1, 3], 3, "ranks 2 to 4 have"),
        ([2, 1], 2, "ranks 0 and 1 have {}, rank 2 has"),
    ],
    ids=str,
)
def test_a_flipped_bit_in_one_machines_copy_is_caught_at_once_and_the_machine_named(
    lab, monkeypatch, machines, rank, named
):
    for flipped in range(10):
        with monkeypatch.context() as patch:
            Flips(patch, rank, flipped)
            ranks = lab.train(sum(machines), config_of(lab, 1), lab.training, machines=machines)
        text, steps = ended_alike(ranks)
        head, _, tail = named.partition("{}")
        assert steps == flipped and f"by their digests, {head}" in text and tail in text
        assert ("the others have" in text) == (tail == "")


def test_a_flip_between_two_digests_spreads_to_all_machines_and_only_changes_the_digests(lab, monkeypatch):
    config = config_of(lab, 4)

    def digests():
        found = []

        class Seen(loop.Silent):
            def most_steps(self, progress):
                return 1

            def steps_done(self, progress, result, learning_rate):
                if result.digest:
                    found.append(result.digest)

        def work(comm):
            data, encoding = lab.training
            return loop.Training(config, comm, data, None, encoding, Seen(), "").run()

        run_ranks(2, work, machines=[1, 1])
        return sorted(set(found))

    clean = digests()
    Flips(monkeypatch, 1, 5, place=-100)  # of the last layer: the backward pass still reads it
    flipped = digests()
    assert [step for step, _ in clean] == [step for step, _ in flipped] == [0, 4, 8]
    assert [a == b for a, b in zip(clean, flipped, strict=True)] == [True, True, False]


def test_a_state_of_which_copies_differ_is_not_saved(lab, monkeypatch):
    config = config_of(lab, 100, "allreduce")
    Flips(monkeypatch, 2, 2)
    text, steps = ended_alike(lab.train(3, config, lab.training, wishes={5: CHECKPOINT}))
    assert steps == 5 and "after step 5: by their digests, rank 2 has" in text


@pytest.mark.parametrize("machines", [[1], [2], [3], [1, 1, 1], [2, 3]], ids=str)
@pytest.mark.parametrize("every", [1, 3])
def test_the_digests_are_the_same_on_any_ranks_and_machines_and_those_of_the_parameters(lab, machines, every):
    config = config_of(lab, every)

    def work(comm):
        found = {}

        class Seen(loop.Silent):
            def most_steps(self, progress):
                return 1

            def steps_done(self, progress, result, learning_rate):
                if result.digest:
                    found[result.digest[0]] = result.digest[1]

            def save(self, checkpoint):
                assert checkpoint.digest == guards.hexadecimal(digest_by_definition(checkpoint.params))
                found["end"] = checkpoint.digest

        data, encoding = lab.training
        loop.Training(config, comm, data, None, encoding, Seen(), "").run()
        return found

    one = run_ranks(1, work)[0]
    assert set(one) == {*range(0, 12, every), "end"}
    assert run_ranks(sum(machines), work, machines=machines) == [one] * sum(machines)


FACTS = {
    "distprop": "1.0",
    "numpy": "2.1",
    "numba": "0.62.1",
    "kernel sources": "ab",
    "configuration": "c",
    "data": "d",
}


@pytest.mark.parametrize("name", [*FACTS, "step", "parameters"])
@pytest.mark.parametrize("odd", range(3))
def test_one_rank_that_differs_is_named_with_both_values_on_all_ranks(name, odd):
    facts = FACTS | {"step": "0", "parameters": "e"}

    def work(comm):
        with pytest.raises(DisagreementError) as caught:
            guards.agree(comm, facts | ({name: "0.61.0"} if comm.rank == odd else {}))
        return str(caught.value)

    texts = run_ranks(3, work)
    assert len(set(texts)) == 1 and texts[0].startswith(
        f"the ranks aren't alike: rank {odd} has {name} 0.61.0, the others have {facts[name]}; start all"
    )


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ("ab", "rank 0 has x a, rank 1 has b"),
        ("aabb", "ranks 0 and 1 have x a, ranks 2 and 3 have b"),
        ("abcaaa", "rank 1 has x b, rank 2 has c, the others have a"),
        ("abbaaaa", "ranks 1 and 2 have x b, the others have a"),
        ("aaaabbb", "ranks 4 to 6 have x b, the others have a"),
        ("aaa", ""),
    ],
)
def test_the_minority_is_named_and_where_there_is_none_everybody(values, text):
    assert guards.differences([{"x": value} for value in values]) == text


def test_ranks_that_start_from_other_parameters_data_or_configuration_end_before_the_first_step(lab):
    data, encoding = lab.training
    config = config_of(lab, 100, "allreduce")

    def work(comm, digests, spoil):
        training = loop.Training(config, comm, data, None, encoding, loop.Silent(), digests[comm.rank])
        if comm.rank == spoil:
            training.model.params[3] += 1
        with pytest.raises(DisagreementError) as caught:
            training.run()
        assert training.progress.step == 0
        return str(caught.value)

    for digests, spoil, named in [
        (["c d", "c d", "c e"], None, "rank 2 has data e, the others have d"),
        (["c d", "x d", "c d"], None, "rank 1 has configuration x, the others have c"),
        (["c d", "x e", "c d"], None, "rank 1 has configuration x, the others have c; rank 1 has data e, the others"),
        (["c d"] * 3, 1, "rank 1 has parameters "),
    ]:
        texts = run_ranks(3, lambda comm, d=digests, s=spoil: work(comm, d, s))
        assert len(set(texts)) == 1 and named in texts[0], texts[0]


def test_what_a_model_is_made_of_is_told_in_full_for_versions_and_by_64_bits_for_digests():
    found = guards.ingredients("f" * 64 + " " + "a" * 64)
    assert list(found) == ["distprop", "numpy", "numba", "kernel sources", "configuration", "data"]
    assert found["numpy"] == np.__version__ and found["configuration"] == "f" * 16 and found["data"] == "a" * 16
    guards.agree(Serial(), found)


@pytest.mark.parametrize("cuts", [[0, 40, 60, 101], [0, 101, 101, 101], None])
def test_a_gathered_vector_is_compared_with_what_the_ranks_hold(cuts):
    """cuts: which rank owns what, perhaps nothing; None: every rank has all of it."""
    whole = np.random.default_rng(5).normal(size=101).astype(np.float32)
    other = whole.copy()
    other[50] += 1

    def work(comm, gathered):
        own = slice(0, 101) if cuts is None else slice(cuts[comm.rank], cuts[comm.rank + 1])
        digests = object.__new__(guards.Digests)
        digests._exchange = SimpleNamespace(owned=(own,))
        try:
            digests.check_gathered(comm, "m", whole[own], gathered[comm.rank], 7)
        except DivergedError as error:
            return str(error)

    assert run_ranks(3, lambda comm: work(comm, [whole] * 3)) == [None] * 3
    (text,) = set(run_ranks(3, lambda comm: work(comm, [whole, other, whole])))
    assert text.startswith("the optimizer's state (m) after step 7 didn't reach rank 1 as the ranks hold it")
