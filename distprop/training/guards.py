"""What all ranks must have alike, and what is said if they haven't.

Before the first step they agree on their software, the configuration, the data and the parameters. In the steps that
are multiples of training.log_every they compare digests of their copies of the parameters: each rank computes that of
its part of its copy, and tells it with the words that all ranks tell each other in every step.
"""

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from distprop.comm.communicator import Communicator
from distprop.comm.exchange import Exchange
from distprop.comm.texts import everyones
from distprop.errors import DisagreementError, DivergedError
from distprop.kernels.digests import compare_copies, digest_when_due, slice_digest
from distprop.kernels.tape import Call
from distprop.network.program import Array
from distprop.paths import kernel_sources
from distprop.training.checkpoint import versions

SHOWN = 16  # characters of a digest: 64 bits
DIGEST = 8  # the word with which a rank tells the digest of its part; see training/step.py for the others


def ingredients(digest: str) -> dict[str, str]:
    """What a model is made of, by name. digest: of configuration and data, as in a checkpoint."""
    configuration, _, data = digest.partition(" ")
    digests = {"kernel sources": kernel_sources(), "configuration": configuration, "data": data}
    return versions() | {name: value[:SHOWN] for name, value in digests.items()}


def agree(comm: Communicator, facts: Mapping[str, str]) -> None:
    """A collective. DisagreementError, on all ranks alike, unless all have the same facts."""
    problem = differences([json.loads(text) for text in everyones(comm, json.dumps(facts))])
    if problem:
        raise DisagreementError(
            f"the ranks aren't alike: {problem}; start all of them in one environment, with one configuration and data"
        )


def differences(facts: Sequence[Mapping[str, str]]) -> str:
    """What differs, and on which ranks; "" if nothing does. facts: of each rank, by name.

    >>> differences([{"numba": "0.62.1"}, {"numba": "0.62.1"}, {"numba": "0.61.0"}])
    'rank 2 has numba 0.61.0, the others have 0.62.1'
    >>> differences([{"numba": "0.62.1"}, {"numba": "0.61.0"}])
    'rank 0 has numba 0.62.1, rank 1 has 0.61.0'
    """
    names = dict.fromkeys(name for of_rank in facts for name in of_rank)
    found = [_difference(name, [of_rank.get(name, "none") for of_rank in facts]) for name in names]
    return "; ".join(text for text in found if text)


def _difference(name: str, values: Sequence[str]) -> str:
    ranks = {value: [rank for rank, other in enumerate(values) if other == value] for value in dict.fromkeys(values)}
    if len(ranks) == 1:
        return ""
    usual = _majority(values)
    parts = [
        f"{ranks_text(some)} {'have' if some[1:] else 'has'} {{}}{value}"
        for value, some in ranks.items()
        if value != usual
    ]
    text = ", ".join([*parts, *([] if usual is None else [f"the others have {usual}"])])
    return text.replace("{}", f"{name} ", 1).replace("{}", "")


def _majority(values: Sequence[Hashable]) -> Any:
    """What more than half of them are; None if there is no such value."""
    value, count = Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else None


def ranks_text(ranks: Sequence[int]) -> str:
    """Such as rank 2, ranks 0 and 3, ranks 4 to 7.

    >>> ranks_text([2]), ranks_text([0, 3]), ranks_text(range(4, 8)), ranks_text([0, 2, 3])
    ('rank 2', 'ranks 0 and 3', 'ranks 4 to 7', 'ranks 0, 2 and 3')
    """
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > 2 and all(b - a == 1 for a, b in pairwise(ranks)):
        return f"ranks {ranks[0]} to {ranks[-1]}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


class Digests:
    """Digests of the parameters: 64 bits, the same on any number of ranks.

    agreed: the last number of steps done after which all ranks or copies were compared.
    """

    def __init__(self, exchange: Exchange, every: int, clock: Array) -> None:
        self._exchange, self.every, self._clock = exchange, every, clock
        self._values, self._first = exchange.params[exchange.part], exchange.part.start
        self._mine = exchange.words.view(np.uint64)[DIGEST : DIGEST + 1]
        self._everyones = exchange.all_words.view(np.uint64)[:, DIGEST]
        self._due, self.agreed = np.zeros(1, np.int64), 0

    def begin(self, step: int) -> None:
        """The next step is number `step`, from 0: digests are due in those that are multiples of `every`."""
        self._due[0] = -(-step // self.every) * self.every

    def compute(self) -> Call:
        """This rank's part. All parameters must have arrived, and nobody may have begun to update them."""
        arguments = (self._mine, self._values, self._first, self._clock, self._due, self.every)
        text = f"digest of parameters, every {self.every} steps"
        # Its time counts as that of its neighbours: the clock would cost more than the call.
        return Call(digest_when_due, arguments, text, "forward")

    def compare(self) -> list[Call]:
        """After the ranks know each other's words. Ends the tape on all ranks if two copies differ."""
        copies = self._exchange.copies
        if len(copies) == 1:
            return []
        bounds = np.array([copy.start for copy in copies] + [copies[-1].stop])
        arguments = (self._everyones, bounds, self._clock, self._due, self.every)
        return [Call(compare_copies, arguments, "digests of all copies agree?", "update")]

    def during(self, step: int, count: int) -> tuple[int, int] | None:
        """The last digest of `count` steps from number `step` on: after how many steps, and what it was."""
        done = (step + count - 1) // self.every * self.every
        if done < step:
            return None
        self.agreed = done
        return done, self._of(self._exchange.copies[0])

    def _of(self, copy: range) -> int:
        return int(self._everyones[copy.start : copy.stop].sum(dtype=np.uint64))

    def whole(self) -> int:
        """That of all parameters, as this rank sees them now."""
        digest = np.zeros(1, np.uint64)
        slice_digest(digest, self._exchange.params, 0)
        return int(digest[0])

    def agree(self, comm: Communicator, step: int) -> int:
        """The digest now, after `step` steps: a collective. DivergedError, on all ranks, if any sees another."""
        mine, all_of_them = np.array([self.whole()], np.uint64), np.zeros((comm.size, 1), np.uint64)
        comm.allgather(mine.view(np.int64), all_of_them.view(np.int64))
        digests: list[int] = all_of_them[:, 0].tolist()
        if len(set(digests)) > 1:
            raise DivergedError(self._text(step, *self._groups(digests)))
        self.agreed = step
        return digests[0]

    def check_gathered(self, comm: Communicator, name: str, mine: Array, whole: Array, step: int) -> None:
        """DivergedError, on all ranks, unless whole (length,) has the digest of the slices that ranks hold.

        mine: this rank's, one behind the other. A collective.
        """
        told, ends = (
            np.array([0, 0, mine.size], np.uint64),
            np.cumsum([0, *(own.stop - own.start for own in self._exchange.owned)]),
        )
        for own, first, last in zip(self._exchange.owned, ends, ends[1:], strict=False):
            slice_digest(told[1:2], mine[first:last], own.start)
            told[:1] += told[1:2]  # as arrays, which overflow without a word
        slice_digest(told[1:2], whole, 0)
        everyones = np.zeros((comm.size, 3), np.uint64)
        comm.allgather(told.view(np.int64), everyones.view(np.int64))
        held = everyones[:, 0]
        if everyones[:, 2].sum() == whole.size:  # else every rank holds all of it
            held = np.full_like(held, held.sum(dtype=np.uint64))
        wrong = np.flatnonzero(everyones[:, 1] != held).tolist()
        if wrong:
            raise DivergedError(
                f"the optimizer's state ({name}) after step {step} didn't reach {ranks_text(wrong)} as the ranks hold "
                "it; nothing of this state is saved"
            )

    def _groups(self, digests: list[int]) -> tuple[Sequence[Sequence[int]], list[int]]:
        """Copies and their digests, or every rank by itself if those of one copy see it differently."""
        copies = self._exchange.copies
        if all(len({digests[rank] for rank in copy}) == 1 for copy in copies):
            return copies, [digests[copy.start] for copy in copies]
        return [(rank,) for rank in range(len(digests))], digests

    def diverged(self, step: int) -> DivergedError:
        """What to raise, after `settle`, where the tape has ended because copies differ after `step` steps."""
        copies = self._exchange.copies
        return DivergedError(self._text(step, copies, [self._of(copy) for copy in copies]))

    def _text(self, step: int, copies: Sequence[Sequence[int]], digests: Sequence[int]) -> str:
        usual = _majority(digests)
        named = [(copy, digest) for copy, digest in zip(copies, digests, strict=True) if digest != usual]
        what = ", ".join(f"{ranks_text(copy)} {'have' if copy[1:] else 'has'} {hexadecimal(d)}" for copy, d in named)
        others = "" if usual is None else f", the others have {hexadecimal(usual)}"
        return (
            f"the parameters differ after step {step}: by their digests, {what}{others}; they were the same after step "
            f"{self.agreed}; nothing of this state is saved; suspect the memory of these ranks' machine"
        )


def hexadecimal(digest: int) -> str:
    """A digest as it is shown: 16 digits."""
    return f"{digest:016x}"
