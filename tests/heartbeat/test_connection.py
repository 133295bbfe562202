"""Heartbeats over real connections: who tells, who listens, and what either does when the other is gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from distprop.heartbeat import interfaces
from distprop.heartbeat.interfaces import addresses, inner_networks
from distprop.heartbeat.listener import Listener
from distprop.heartbeat.pulse import TRAINING, Pulse
from distprop.heartbeat.sender import Sender

LIMIT_S = 60.0


def hear(listener, enough):
    """Listen until what has been heard is enough."""
    heard, until = [], time.monotonic() + LIMIT_S
    while not enough(heard) and time.monotonic() < until:
        heard += listener.hear(0.1)
    assert enough(heard)
    return heard


def test_what_a_rank_notes_is_heard_and_so_is_its_goodbye():
    pulse = Pulse(rank=3)
    pulse.move(step=41)
    pulse.wait("a barrier")
    with Listener() as listener:
        with Sender(pulse, listener.address):
            (first, *_) = hear(listener, lambda heard: heard)
        last = hear(listener, lambda heard: any(one.leaves for one in heard))[-1]
        assert listener.hear(0.1) == []
    beat = first.beat
    assert (beat.rank, beat.phase, beat.step, beat.waits, beat.process) == (3, TRAINING, 41, "a barrier", os.getpid())
    assert beat.host == socket.gethostname() and last.key == first.key


def test_nobody_is_told_where_nobody_listens():
    threads = threading.active_count()
    with Sender(Pulse(), ""):
        assert threading.active_count() == threads


def test_a_rank_ends_when_its_listener_is_gone():
    lost = threading.Event()
    listener = Listener()
    with Sender(Pulse(), listener.address, lost=lost.set):
        hear(listener, lambda heard: heard)
        listener.__exit__(None, None, None)
        assert lost.wait(LIMIT_S)


def test_a_rank_that_must_be_answered_ends_when_it_is_not():
    lost = threading.Event()
    with Listener() as listener, Sender(Pulse(), listener.address, patience=1, lost=lost.set):
        hear(listener, lambda heard: heard)
        assert lost.wait(LIMIT_S)  # the connection is there, but nobody answers


def test_a_rank_waits_for_a_listener_that_is_stopped():
    lost = threading.Event()
    with Listener() as listener:
        with Sender(Pulse(), listener.address, lost=lost.set):
            hear(listener, lambda heard: heard)
            assert not lost.wait(3)
            hear(listener, lambda heard: heard)
        assert not lost.is_set()


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 10_000,
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"token": "wrong", "kind": "beat"}\n',
        b'{"token": ' + b"9" * 5000 + b"}\n",
    ],
)
def test_strangers_are_not_listened_to(text):
    with Listener() as listener:
        host, port = listener.address.partition("@")[2].split(":")
        with socket.create_connection((host, int(port)), LIMIT_S) as stranger:
            stranger.sendall(text)
            until, closed = time.monotonic() + LIMIT_S, b"x"
            stranger.settimeout(0.1)
            while closed and time.monotonic() < until:
                assert listener.hear(0.1) == []
                try:
                    closed = stranger.recv(100)
                except TimeoutError:
                    continue
                except ConnectionResetError:
                    closed = b""
            assert closed == b""


def test_beats_with_the_token_but_without_their_fields_are_refused():
    with Listener() as listener:
        token, _, place = listener.address.partition("@")
        with socket.create_connection(("127.0.0.1", int(place.split(":")[1])), LIMIT_S) as stranger:
            stranger.sendall(json.dumps({"token": token, "kind": "beat", "rank": 1}).encode() + b"\n")
            for _ in range(5):
                assert listener.hear(0.1) == []


NETWORKS = {
    "lo": ["127.0.0.1"],
    "eth0": ["192.0.2.1"],
    "docker0": ["172.17.0.1"],
    "br-0a1b2c3d4e5f": ["172.18.0.1"],
    "virbr0": ["192.168.122.1"],
}


def test_networks_that_end_within_a_host_are_not_told_to_others_unless_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(interfaces, "own_addresses", lambda: NETWORKS)
    assert addresses() == [socket.gethostname(), "192.0.2.1"]
    assert addresses(only=["docker0", "eth0"]) == ["172.17.0.1", "192.0.2.1"]


def test_a_network_of_virtual_machines_counts_if_a_host_is_reached_by_it(monkeypatch):
    monkeypatch.setattr(interfaces, "own_addresses", lambda: {"virbr0": ["127.0.0.1"], "docker0": ["172.17.0.1"]})
    assert "virbr" in inner_networks([]) and "virbr" not in inner_networks(["localhost"])
    assert "docker" in inner_networks(["localhost", "no.such.host.invalid"])


def test_other_hosts_are_told_addresses_that_are_not_this_machine_alone():
    with Listener(addresses()) as listener:
        assert socket.gethostname() in listener.address and "127.0.0.1" not in listener.address


STOPPED = """
import faulthandler, os, signal, sys, time
faulthandler.register(signal.SIGUSR2, open(sys.argv[1], "w"))
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
time.sleep(600)
"""


def test_a_stopped_process_writes_its_stacks_when_another_rank_of_its_host_is_answered(tmp_path):
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", STOPPED, log], stdout=subprocess.PIPE) as stopped:
        try:
            stopped.stdout.readline()
            with Listener() as listener, Sender(Pulse(), listener.address):
                (one, *_) = hear(listener, lambda heard: heard)
                beat = one.beat.__class__(**{**vars(one.beat), "process": stopped.pid})
                listener.want_stacks([beat])
                until = time.monotonic() + LIMIT_S
                while "most recent call first" not in log.read_text() and time.monotonic() < until:
                    listener.hear(0.1)
            assert "most recent call first" in log.read_text()
        finally:
            stopped.send_signal(signal.SIGKILL)
