"""Verdicts, from made-up beats at made-up times."""

import pytest

from distprop.heartbeat.listener import Heard
from distprop.heartbeat.pulse import COMPILING, FIRST_STEP, SAVING, STARTING, TRAINING, VALIDATING, Beat
from distprop.heartbeat.watch import Limits, Watch

LIMITS = Limits(silence_s=10, start_s=30, compile_s=100, step_s=20, save_s=50)
SIZE = 3


class Story:
    """Ranks that tell every second what `tell` says of them."""

    def __init__(self, size=SIZE):
        self.watch, self.now, self.moves = Watch(size, LIMITS), 0.0, 0
        self.size = size

    def goes_on(self, seconds, tell=lambda rank: {}, ranks=range(SIZE), moving=False):
        """Until there is a verdict, or for so long; returns it, and after how many seconds it came."""
        for second in range(1, seconds + 1):
            self.now += 1
            self.moves += moving
            heard = [Heard(rank, self.beat(rank, **tell(rank))) for rank in ranks]
            self.watch.hear(heard, self.now)
            verdict = self.watch.verdict()
            if verdict:
                return verdict, second
        return None, seconds

    def beat(self, rank, phase=TRAINING, step=7, waits=""):
        return Beat(rank, f"host{rank}", 100 + rank, phase, step, self.moves, waits)


def blamed(verdict):
    return [beat.rank for beat in verdict.culprits]


def test_ranks_that_get_on_are_left_alone():
    assert Story().goes_on(1000, moving=True) == (None, 1000)


def test_a_silent_rank_is_named_after_its_time():
    story = Story()
    story.goes_on(5, moving=True)
    verdict, seconds = story.goes_on(100, ranks=(0, 2), moving=True)
    assert verdict and (verdict.kind, blamed(verdict), seconds) == ("silent", [1], 11)
    assert verdict.text == "rank 1 on host1 (process 101) is silent for 11 s; last heard of training, in step 8"


def test_a_rank_that_stands_still_while_all_others_wait_is_named():
    story = Story()
    story.goes_on(5, moving=True)
    verdict, seconds = story.goes_on(100, lambda rank: {"waits": "" if rank == 2 else "a barrier"})
    assert verdict and (verdict.kind, blamed(verdict), seconds) == ("stuck", [2], 21)
    assert "rank 2 on host2 (process 102) has not moved for 21 s training, in step 8; all others wait" in verdict.text


def test_who_waits_for_something_else_than_most_is_named():
    verdict, _ = Story().goes_on(100, lambda rank: {"waits": "a barrier" if rank == 1 else "a broadcast"})
    assert verdict.kind == "apart" and blamed(verdict) == [1]
    assert "rank 1 on host1 (process 101) for a barrier" in verdict.text


def test_of_two_that_wait_for_different_things_both_are_named():
    verdict, _ = Story().goes_on(100, lambda rank: {"waits": f"{rank}"}, ranks=(0, 1))
    assert verdict.kind == "apart" and blamed(verdict) == [0, 1]


@pytest.mark.parametrize(
    ("phase", "limit"),
    [(STARTING, 30), (COMPILING, 100), (FIRST_STEP, 100), (TRAINING, 20), (VALIDATING, 20), (SAVING, 50)],
)
def test_each_phase_has_its_limit(phase, limit):
    verdict, seconds = Story().goes_on(1000, lambda rank: {"phase": phase})
    assert verdict.kind == "stuck" and seconds == limit + 2  # the first second brings the ranks themselves


def test_the_limit_is_that_of_who_does_not_wait():
    """Two ranks wait in a barrier until the third has compiled."""
    told = lambda rank: {"phase": COMPILING} if rank == 0 else {"phase": STARTING, "waits": "a barrier"}  # noqa: E731
    assert Story().goes_on(100, told) == (None, 100)


def test_the_limit_is_not_that_of_who_waits():
    told = lambda rank: {"phase": STARTING} if rank == 0 else {"phase": COMPILING, "waits": "a barrier"}  # noqa: E731
    verdict, seconds = Story().goes_on(1000, told)
    assert verdict and (verdict.kind, blamed(verdict), seconds) == ("stuck", [0], 32)


def test_steps_that_take_long_may_take_longer():
    story = Story()
    for _ in range(5):
        assert story.goes_on(15) == (None, 15)
        assert story.goes_on(1, moving=True) == (None, 1)
    verdict, seconds = story.goes_on(1000)
    assert verdict.kind == "stuck" and 135 < seconds <= 170  # ten times as long


def test_ranks_that_are_never_heard_of_are_counted():
    verdict, seconds = Story().goes_on(100, ranks=(0, 1), moving=True)
    assert (verdict.kind, seconds) == ("start", 31)
    assert verdict.text == "1 of 3 ranks haven't been heard of within 30 s; the others are on host0, host1"


def test_ranks_that_are_known_to_have_started_need_not_be_heard_of():
    watch = Watch(3, LIMITS)
    for second in range(100):
        watch.hear([], float(second))
        assert watch.verdict(started=True) is None


def test_a_rank_that_goes_without_a_word_is_named_if_nobody_else_notices():
    story = Story()
    story.goes_on(5, moving=True)
    story.watch.hear([Heard(1, None)], story.now)
    assert story.watch.first_gone == story.beat(1)
    verdict, seconds = story.goes_on(100, ranks=(0, 2), moving=True)
    assert verdict and (verdict.kind, blamed(verdict), seconds) == ("gone", [1], 6)


def test_a_rank_that_says_goodbye_is_not_missed():
    story = Story()
    story.goes_on(5, moving=True)
    story.watch.hear([Heard(1, story.beat(1), leaves=True)], story.now)
    assert story.goes_on(100, ranks=(0, 2), moving=True) == (None, 100)


def test_time_in_which_we_stood_still_ourselves_does_not_count():
    story = Story()
    story.goes_on(5, moving=True)
    for _ in range(9):
        story.now += 1000  # stopped, or a laptop's lid
        story.watch.hear([], story.now)
        assert story.watch.verdict() is None


def test_beats_of_one_rank_replace_each_other():
    story = Story()
    story.goes_on(3, moving=True)
    assert [(beat.rank, beat.moves) for beat in story.watch.beats] == [(0, 3), (1, 3), (2, 3)]
