"""Requests to stop, which come as signals: counted at once, and granted where training can stop."""

import signal
import threading
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any


class StopRequests:
    """Used as a context, within which these signals are counted instead of what else they do.

    An exception that a signal's handler raises, wherever Python happens to be, may be lost there: in a finalizer, or in
    a function that LLVM or the garbage collector calls.
    """

    def __init__(self, signals: Sequence[signal.Signals]) -> None:
        self._signals = signals
        self._before: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():  # no other thread gets signals
            self._before = {number: signal.signal(number, self._add) for number in self._signals}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _add(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
