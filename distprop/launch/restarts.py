"""Starts the ranks of a run again, from its newest checkpoint, when they have died or hung.

No state belongs to a rank, so that is exact: the model will be the same as if nothing had happened.
"""

import time
from collections.abc import Callable
from typing import Any

from distprop.errors import GaveUpError, Interrupted
from distprop.launch.progress import Progress
from distprop.launch.run import Ranks, RunFailedError, Stop, supervise
from distprop.report import counted
from distprop.run_directory import RunDirectory, generations

PAUSE_S = 1.0  # before the second restart in a row; doubled before each that follows
MOST_PAUSE_S = 60.0
LOOK_S = 0.05


def run_to_end(
    ranks: Callable[[bool], Ranks], run: RunDirectory, progress: Progress, stop: Stop, most: int
) -> dict[str, Any]:
    """Supervise a run until it is done, with at most so many restarts in a row that bring no new checkpoint.

    ranks: what to start, and, called with True, what to start again, which may be less.

    Raises what `supervise` does, if it can't be of use to start again, and GaveUpError after the last restart.
    """
    newest, restarts, again = _newest(run), 0, False
    while True:
        try:
            return supervise(ranks(again), run, progress, stop)
        except RunFailedError as error:
            if stop.requests and error.may_pass:
                raise Interrupted(f"{error.reason}; continue with: distprop resume {run.path}") from error
            before, newest = newest, _newest(run)
            restarts = 0 if newest != before else restarts
            again = error.may_pass and restarts < most
            logs = run.add_incident(error.kind, error.reason, restarted=again)
            if not again:
                raise _last(error, run, restarts) from error
            restarts += 1
            source = f"from {newest}" if newest else "from the beginning, as there is no checkpoint yet"
            progress.restart(f"{error.reason} (see {logs}); starting again {source}: {restarts} of {most}")
        _pause(restarts, run, stop)


def _last(error: RunFailedError, run: RunDirectory, restarts: int) -> Exception:
    """What ends the run."""
    if not error.may_pass or restarts == 0:
        return error
    return GaveUpError(
        f"{error}\ngave up after {counted(restarts, 'restart')} that brought no new checkpoint; "
        f"mend what is wrong, then: distprop resume {run.path}"
    )


def _newest(run: RunDirectory) -> str:
    """The name of the newest checkpoint, whole or not; "" if there is none."""
    return next((path.name for path in generations(run.checkpoints)), "")


def _pause(restarts: int, run: RunDirectory, stop: Stop) -> None:
    """Let what may pass pass. The first restart in a row is at once."""
    until = time.monotonic() + (min(PAUSE_S * 2 ** (restarts - 2), MOST_PAUSE_S) if restarts > 1 else 0.0)
    while time.monotonic() < until and not stop.requests:
        time.sleep(LOOK_S)
    if stop.requests:
        raise Interrupted(f"stopped between two starts; continue with: distprop resume {run.path}")
