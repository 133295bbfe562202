"""Ranks that watch each other, where no launcher of ours does: rank 0 listens to all, and all wait for its answers."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator

from distprop.comm.communicator import Communicator
from distprop.comm.watched import Watched
from distprop.heartbeat.interfaces import addresses
from distprop.heartbeat.listener import Listener
from distprop.heartbeat.pulse import Pulse
from distprop.heartbeat.sender import BEAT_S, Sender, end_now
from distprop.heartbeat.watch import Limits, Verdict, Watch

LOOK_S = 0.2


@contextlib.contextmanager
def watching_each_other(comm: Communicator, pulse: Pulse, limits: Limits, end: Callable[[], None]) -> Iterator[Watched]:
    """The communicator, watched: a collective. If ranks hang, rank 0 says which, and `end`s all; a rank that rank 0
    doesn't answer for `limits.silence_s` ends itself, with which an mpirun ends all.
    """
    watched = Watched(comm, pulse)
    with contextlib.ExitStack() as stack:
        listener = None
        if comm.rank == 0 and comm.size > 1:
            listener = stack.enter_context(Listener(() if comm.shares_memory else addresses()))
        address = comm.broadcast(listener.address if listener else "")
        if listener:
            stack.enter_context(_listening(listener, Watch(comm.size, limits), end))
        stack.enter_context(Sender(pulse, address, patience=max(1, round(limits.silence_s)), lost=_alone(pulse)))
        yield watched
        comm.barrier()  # until all are here, rank 0 listens


@contextlib.contextmanager
def _listening(listener: Listener, watch: Watch, end: Callable[[], None]) -> Iterator[None]:
    """A thread that watches all ranks."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            watch.hear(listener.hear(LOOK_S), time.monotonic())
            verdict = watch.verdict(started=True)
            if verdict and not done.is_set():
                _condemn(listener, watch, verdict, end)

    thread = threading.Thread(target=run, daemon=True, name="watch")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _condemn(listener: Listener, watch: Watch, verdict: Verdict, end: Callable[[], None]) -> None:
    listener.want_stacks(watch.beats)
    until = time.monotonic() + 2 * BEAT_S
    while (left := until - time.monotonic()) > 0:
        listener.hear(left)
    print(f"{verdict.text}; all ranks are killed", file=sys.stderr, flush=True)
    end()


def _alone(pulse: Pulse) -> Callable[[], None]:
    def end() -> None:
        beat = pulse.beat()
        print(f"{beat}: rank 0, which watches all ranks, doesn't answer; ending", file=sys.stderr, flush=True)
        end_now()

    return end
