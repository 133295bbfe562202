"""Rounds in which the sides of a benchmark take short turns, so that a disturbance of the machine hits all alike.

A side is a program, or several copies of it at the same time. It answers once when it is ready; then each question is a
number of repetitions, such as epochs, and the answer has their "seconds".
"""

import contextlib
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

from programs import Program, Running

Turn = list[dict[str, Any]]  # the answer of each copy
Copies = Sequence[tuple[Program, Sequence[int]]]  # programs that run at the same time, each with its cores


class Side:
    """A side that has started, warmed up and waits for its turns. ready: the first answer of each copy."""

    def __init__(self, copies: Copies, seconds: float) -> None:
        """seconds: about as long as a turn shall be."""
        with contextlib.ExitStack() as stack:
            self._running = [stack.enter_context(Running(program, cores)) for program, cores in copies]
            self.ready: Turn = [running.answer() for running in self._running]
            self._repetitions = 1
            self.turn()  # compiles, and fills caches
            for _ in range(2):  # the first of these may still compile something
                self._repetitions = self._wanted(seconds)
            self._stack = stack.pop_all()

    def __enter__(self) -> "Side":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _wanted(self, seconds: float) -> int:
        """Repetitions for a turn of so many seconds, by another turn."""
        return max(2, math.ceil(seconds / median_seconds(self.turn())))

    def turn(self) -> Turn:
        for running in self._running:
            running.ask(self._repetitions)
        return [running.answer() for running in self._running]


@contextlib.contextmanager
def started(sides: Mapping[str, Copies], seconds: float) -> Iterator[dict[str, Side]]:
    """All sides, by name, ready for turns of so many seconds."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(Side(copies, seconds)) for name, copies in sides.items()}


def median_seconds(turn: Turn) -> float:
    """Of a repetition, of the first copy."""
    return statistics.median(turn[0]["seconds"])


def take_rounds(
    sides: Mapping[str, Side], count: int, between: Callable[[], None] = lambda: None
) -> dict[str, list[Turn]]:
    """Each side's turns, one a round, in this order and then in the opposite one. between: called after each round."""
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    for number in range(count):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            turns[name].append(sides[name].turn())
        between()
    for name in sides:
        print(f"  {name:20} {1e3 * statistics.median(map(median_seconds, turns[name])):10.3f} ms", file=sys.stderr)
    return turns
