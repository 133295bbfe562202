"""Decides whether ranks hang, and which of them, from what has been heard of them. No clock, no network here.

Ranks are bound to each other by their collectives: if one hangs, all stand still soon. So a run hangs when nobody has
moved for longer than those may take who aren't waiting for others; and it is they who hang. A rank that is silent hangs
whatever the others do.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distprop.heartbeat.listener import Heard
from distprop.heartbeat.pulse import (
    COMPILING,
    FIRST_STEP,
    LOADING,
    PREPARING,
    SAVING,
    STARTING,
    TRAINING,
    VALIDATING,
    Beat,
)

if TYPE_CHECKING:
    from distprop.config.run import Launch

MOST_GAP_S = 1.0  # of our own time between two looks: if it was longer, we were stopped, or had no core
BETWEEN_BEATS_S = 1.5  # at most, if all is well: so much later than it happens a move may be heard of
LEAVING_S = 5.0  # for the others to notice that a rank has gone
SLOWER = 10.0  # times the longest step so far: no step takes that long


@dataclass(frozen=True)
class Limits:
    """Seconds that a rank may be silent, and that each phase may take without moving."""

    silence_s: float
    start_s: float
    compile_s: float
    step_s: float
    save_s: float

    @classmethod
    def of(cls, launch: "Launch") -> "Limits":
        """Those that a configuration gives."""
        return cls(
            launch.silence_seconds,
            launch.start_seconds,
            launch.compile_seconds,
            launch.step_seconds,
            launch.save_seconds,
        )

    @property
    def by_phase(self) -> Mapping[str, float]:
        long = max(self.compile_s, self.save_s)
        return {
            STARTING: self.start_s,
            PREPARING: long,
            COMPILING: self.compile_s,
            FIRST_STEP: self.compile_s,
            TRAINING: self.step_s,
            VALIDATING: self.step_s,
            LOADING: self.save_s,
            SAVING: self.save_s,
        }


@dataclass(frozen=True)
class Verdict:
    """Why the ranks must be ended. text: one line for the user; culprits: those who are to blame, as last heard."""

    kind: str  # "start", "silent", "gone", "stuck" or "apart"
    text: str
    culprits: tuple[Beat, ...]


@dataclass
class _Rank:
    beat: Beat
    heard: float
    gone: float | None = None
    left: bool = False  # it has said goodbye


class Watch:
    """What has been heard of `ranks` ranks, and when by our own time, which stands still while we do."""

    def __init__(self, ranks: int, limits: Limits) -> None:
        self._count, self._limits = ranks, limits
        self._ranks: dict[int, _Rank] = {}
        self._now = self._moved = self._longest = 0.0
        self._looked: float | None = None
        self._gone_beats: list[Beat] = []

    @property
    def beats(self) -> tuple[Beat, ...]:
        """The last one of each rank."""
        return tuple(rank.beat for rank in sorted(self._ranks.values(), key=lambda rank: rank.beat.rank))

    @property
    def first_gone(self) -> Beat | None:
        """The rank whose connection was the first to end without a goodbye; others often follow it."""
        return self._gone_beats[0] if self._gone_beats else None

    def hear(self, heard: Iterable[Heard], now: float) -> None:
        """Take in what has come, at this time of a clock."""
        self._now += 0 if self._looked is None else min(now - self._looked, MOST_GAP_S)
        self._looked = now
        for one in heard:
            rank = self._ranks.get(one.key)
            if one.beat is None:
                if rank:
                    rank.gone = self._now
                    self._gone_beats.append(rank.beat)
            else:
                if rank is None or one.beat.moves != rank.beat.moves:
                    self._move(one.beat)
                self._ranks[one.key] = _Rank(one.beat, self._now, left=one.leaves)

    def _move(self, beat: Beat) -> None:
        if beat.phase == TRAINING:
            self._longest = max(self._longest, self._now - self._moved - BETWEEN_BEATS_S)
        self._moved = self._now

    def verdict(self, *, started: bool = False) -> Verdict | None:
        """None while all is well. started: known by other means, so silence from the start proves nothing."""
        for judge in (self._not_started, self._gone, self._silent, self._stuck):
            verdict = judge(started)
            if verdict:
                return verdict
        return None

    def _not_started(self, started: bool) -> Verdict | None:
        missing = self._count - len(self._ranks)
        if started or missing <= 0 or self._now < self._limits.start_s:
            return None
        hosts = ", ".join(sorted({rank.beat.host for rank in self._ranks.values()}))
        others = f"; the others are on {hosts}" if hosts else ""
        text = f"{missing} of {self._count} ranks haven't been heard of within {self._now:.0f} s{others}"
        return Verdict("start", text, ())

    def _gone(self, started: bool) -> Verdict | None:
        gone = [one for one in self._ranks.values() if one.gone is not None and self._now - one.gone > LEAVING_S]
        if not gone:
            return None
        return Verdict("gone", f"{_names(gone)} {_is(gone)} gone; last heard of {where(gone[0].beat)}", _beats(gone))

    def _silent(self, started: bool) -> Verdict | None:
        silent = [one for one in self._present() if one.gone is None and self._now - one.heard > self._limits.silence_s]
        if not silent:
            return None
        seconds = max(self._now - one.heard for one in silent)
        last = f"last heard of {where(silent[0].beat)}"
        return Verdict("silent", f"{_names(silent)} {_is(silent)} silent for {seconds:.0f} s; {last}", _beats(silent))

    def _stuck(self, started: bool) -> Verdict | None:
        present = self._present()
        busy = [one for one in present if not one.beat.waits]
        seconds = self._now - self._moved
        if not present or seconds <= max(self._limit(one.beat) for one in busy or present):
            return None
        if busy:
            text = f"{_names(busy)} {_has(busy)} not moved for {seconds:.0f} s {where(busy[0].beat)}; all others wait"
            return Verdict("stuck", text, _beats(busy))
        return self._apart(present, seconds)

    def _apart(self, present: list[_Rank], seconds: float) -> Verdict:
        """All wait: for different things, or for somebody who has left."""
        kinds = Counter(one.beat.waits for one in present)
        most, count = kinds.most_common(1)[0]
        odd = [one for one in present if one.beat.waits != most] if count > len(present) / 2 else present
        waits = "; ".join(f"{_names([one for one in present if one.beat.waits == what])} for {what}" for what in kinds)
        text = f"all ranks wait for each other for {seconds:.0f} s, {where(present[0].beat)}: {waits}"
        return Verdict("apart", text, _beats(odd or present))

    def _present(self) -> list[_Rank]:
        return [one for one in self._ranks.values() if not one.left]

    def _limit(self, beat: Beat) -> float:
        limit = self._limits.by_phase[beat.phase]
        return max(limit, SLOWER * self._longest) if beat.phase in (TRAINING, VALIDATING) else limit


def _beats(ranks: list[_Rank]) -> tuple[Beat, ...]:
    return tuple(one.beat for one in ranks)


def _names(ranks: list[_Rank]) -> str:
    return ", ".join(str(beat) for beat in sorted(_beats(ranks), key=lambda beat: beat.rank))


def _is(ranks: list[_Rank]) -> str:
    return "is" if len(ranks) == 1 else "are"


def _has(ranks: list[_Rank]) -> str:
    return "has" if len(ranks) == 1 else "have"


def where(beat: Beat) -> str:
    """Its phase, and the step that it is in, from 1, if it is in one."""
    return (
        f"{beat.phase}, in step {beat.step + 1}" if beat.phase == TRAINING else f"{beat.phase}, after step {beat.step}"
    )
