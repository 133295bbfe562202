"""Receives the heartbeats of ranks on any host."""

import json
import secrets
import selectors
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any

from distprop.heartbeat.pulse import Beat

MOST_BYTES = 4096  # of one message


@dataclass(frozen=True)
class Heard:
    """One message, or the end of a connection (beat None), of the rank that has this key."""

    key: int
    beat: Beat | None
    leaves: bool = False  # it said so


@dataclass
class _Line:
    """What has been received of a rank."""

    socket: socket.socket
    text: bytearray = field(default_factory=bytearray)
    beat: Beat | None = None
    left: bool = False


class Listener:
    """Used as a context. hosts: names or addresses of this host for ranks on others; none: only this host's connect."""

    def __init__(self, hosts: Sequence[str] = ()) -> None:
        self._socket = socket.create_server(("" if hosts else "127.0.0.1", 0), backlog=1024)
        self._socket.setblocking(False)
        self._token = secrets.token_hex(16)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._lines: dict[int, _Line] = {}
        self._wanted: dict[str, set[int]] = {}  # whose stacks are wanted, by host
        port = self._socket.getsockname()[1]
        self.address = f"{self._token}@" + ",".join(f"{host}:{port}" for host in hosts or ("127.0.0.1",))

    def __enter__(self) -> "Listener":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for line in self._lines.values():
            line.socket.close()
        self._selector.close()
        self._socket.close()

    def hear(self, seconds: float = 0.0) -> list[Heard]:
        """All that has come; wait so long for something to come."""
        heard: list[Heard] = []
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._socket:
                self._accept()
            else:
                heard += self._read(key.fd)
        return heard

    def want_stacks(self, beats: Iterable[Beat]) -> None:
        """Have these ranks' stacks written, when next somebody on their hosts is heard."""
        for beat in beats:
            self._wanted.setdefault(beat.host, set()).add(beat.process)

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._socket.accept()
            connection.setblocking(False)
            self._lines[connection.fileno()] = _Line(connection)
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, key: int) -> list[Heard]:
        line = self._lines[key]
        try:
            received = line.socket.recv(MOST_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            received = b""
        line.text += received
        if not received or len(line.text) > MOST_BYTES:
            return self._close(key, line)
        heard: list[Heard] = []
        while b"\n" in line.text:
            text, _, line.text = line.text.partition(b"\n")
            message = self._message(text)
            if message is None:
                return [*heard, *self._close(key, line)]
            line.beat, line.left = message
            heard.append(Heard(key, line.beat, line.left))
            self._answer(line)
        return heard

    def _message(self, text: bytes | bytearray) -> tuple[Beat, bool] | None:
        """The beat, and whether it is the last one; None from anybody who isn't a rank of ours."""
        try:
            record: dict[str, Any] = json.loads(text)
            if not secrets.compare_digest(str(record["token"]), self._token):
                return None
            return Beat(**{one.name: record[one.name] for one in fields(Beat)}), record["kind"] == "bye"
        except (ValueError, KeyError, TypeError):
            return None

    def _answer(self, line: _Line) -> None:
        assert line.beat is not None
        processes = self._wanted.pop(line.beat.host, set())
        with suppress(OSError):  # its end will be read
            line.socket.send(" ".join(map(str, processes)).encode() + b"\n")

    def _close(self, key: int, line: _Line) -> list[Heard]:
        self._selector.unregister(line.socket)
        line.socket.close()
        del self._lines[key]
        return [Heard(key, None)] if line.beat and not line.left else []
