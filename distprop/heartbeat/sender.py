"""The thread of a rank that tells its pulse once a second, and ends the rank when nobody listens any more.

A rank whose supervisor has died would be nobody's: it would compute for ever, or wait for ever for others.
"""

import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType

from distprop.heartbeat.pulse import Pulse

BEAT_S = 1.0
CONNECT_S = 5.0  # for one address
MOST_BYTES = 1 << 16  # of one answer
GONE_S = 30  # after which the network says that the other side is gone
STACKS = signal.SIGUSR2  # makes a rank write the stacks of all its threads to its log


def end_now() -> None:
    """End this process at once, whatever its other threads do."""
    os.kill(os.getpid(), signal.SIGKILL)


class Sender:
    """Used as a context. address: where to, as `Listener.address` gives it; "": nobody watches this rank.

    patience: so many seconds without an answer mean that nobody listens; None: only the end of the connection does, as
    a user may stop who listens for a while.
    """

    def __init__(
        self, pulse: Pulse, address: str, patience: int | None = None, lost: Callable[[], None] = end_now
    ) -> None:
        self._pulse, self._patience, self._lost = pulse, patience, lost
        self._token, _, self._places = address.partition("@")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def __enter__(self) -> "Sender":
        if self._places:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._places:
            self._thread.join(BEAT_S)

    def _run(self) -> None:
        connection = _connect(self._places.split(","))
        if connection is None:  # whoever watches will say that nothing is heard of this rank
            return
        with connection:
            while not self._stop.is_set():
                if not self._tell(connection) or not self._listen(connection):
                    if not self._stop.is_set():
                        self._lost()
                    return
                self._stop.wait(BEAT_S)
            with suppress(OSError):
                connection.sendall(self._line("bye"))

    def _tell(self, connection: socket.socket) -> bool:
        try:
            connection.sendall(self._line("beat"))
        except OSError:
            return False
        return True

    def _line(self, kind: str) -> bytes:
        return json.dumps({"token": self._token, "kind": kind, **asdict(self._pulse.beat())}).encode() + b"\n"

    def _listen(self, connection: socket.socket) -> bool:
        """Wait for the answer, and do what it asks for. Until it comes no other beat is sent, so none pile up.

        Time is counted in waits, not by a clock: this process may be stopped for a while too.
        """
        waits, answer = 0, b""
        while not answer.endswith(b"\n"):
            if select.select([connection], [], [], BEAT_S)[0]:
                try:
                    received = connection.recv(MOST_BYTES)
                except OSError:
                    return False
                if not received:
                    return False
                answer += received
                continue
            waits += 1
            if self._stop.is_set() or (self._patience is not None and waits > self._patience):
                return False
        _write_stacks(answer)
        return True


def _write_stacks(processes: bytes) -> None:
    """Have the processes of this host with these numbers write their stacks to their logs."""
    for word in processes.split():
        with suppress(OSError, ValueError):
            os.kill(int(word), STACKS)
            os.kill(int(word), signal.SIGCONT)  # one that is stopped writes them when it goes on


def _connect(places: list[str]) -> socket.socket | None:
    """A connection to the first of these host:port that answers."""
    for place in places:
        host, _, port = place.rpartition(":")
        try:
            connection = socket.create_connection((host, int(port)), CONNECT_S)
        except OSError:
            continue
        connection.settimeout(None)
        _notice_its_end(connection)
        return connection
    return None


def _notice_its_end(connection: socket.socket) -> None:
    """Also of a host that has lost its power, or whose cable has been cut."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": GONE_S * 1000}
    for name, value in options.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
