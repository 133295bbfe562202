"""Copies of a run on other hosts: whole or not there, nothing else is touched. And hosts that take nothing."""

import io
import socket
import subprocess
import sys

import pytest

from distprop.launch.mirror import MARK, _pack
from distprop.launch.reach import send

AGENT = """#!/bin/sh
shift
exec sh -c "$*"
"""


@pytest.fixture
def stream(tmp_path):
    """A run as it is sent."""
    run = tmp_path / "sent"
    (run / "checkpoints" / "step-1").mkdir(parents=True)
    (run / "config.toml").write_text("seed = 1\n")
    (run / "checkpoints" / "step-1" / "params").write_bytes(bytes(300_000))
    content = io.BytesIO()
    _pack(content, run, [run / "config.toml", run / "checkpoints"])
    return content.getvalue()


@pytest.fixture
def take(tmp_path):
    """Call it with what comes and a token, to run this step as on another host."""

    def run(stream, token):
        command = [sys.executable, "-m", "distprop.launch.mirror", "take_run", str(tmp_path / "runs" / "run"), token]
        return subprocess.run(command, input=stream, capture_output=True, timeout=250)

    return run


def test_a_copy_is_replaced_by_the_next_one(take, tmp_path, stream):
    assert take(stream, "one").returncode == 0
    run = tmp_path / "runs" / "run"
    (run / "logs").mkdir()
    (tmp_path / "runs" / "another").mkdir()
    assert take(stream, "two").returncode == 0
    assert (run / MARK).read_text() == "two" and not (run / "logs").exists()
    assert (run / "config.toml").read_text() == "seed = 1\n"
    assert (run / "checkpoints" / "step-1" / "params").read_bytes() == bytes(300_000)
    assert sorted(path.name for path in run.parent.iterdir()) == ["another", "run"]


@pytest.mark.parametrize("earlier", [False, True])
def test_of_a_broken_stream_nothing_is_left(take, tmp_path, stream, earlier):
    if earlier:
        assert take(stream, "one").returncode == 0
    done = take(stream[:200_000], "two")
    assert done.returncode == 1 and b"only a part has come" in done.stderr and len(done.stderr.splitlines()) == 1
    found = [path.name for path in (tmp_path / "runs").iterdir()]
    assert found == (["run"] if earlier else [])
    assert not earlier or (tmp_path / "runs" / "run" / MARK).read_text() == "one"


def test_what_was_not_sent_is_not_touched(take, tmp_path, stream):
    run = tmp_path / "runs" / "run"
    run.mkdir(parents=True)
    (run / "config.toml").write_text("seed = 8\n")
    done = take(stream, "one")
    assert done.returncode == 1 and b"there is something else on that host" in done.stderr
    assert [path.name for path in run.iterdir()] == ["config.toml"] and (
        run / "config.toml"
    ).read_text() == "seed = 8\n"
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_what_a_loss_of_power_has_left_is_removed(take, tmp_path, stream):
    left = tmp_path / "runs" / f".run.{socket.gethostname()}-0"
    left.mkdir(parents=True)
    assert take(stream, "one").returncode == 0
    assert [path.name for path in left.parent.iterdir()] == ["run"]


@pytest.fixture
def agent(tmp_path, monkeypatch):
    path = tmp_path / "agent"
    path.write_text(AGENT)
    path.chmod(0o755)
    monkeypatch.setenv("PRTE_MCA_plm_ssh_agent", str(path))


def much(pipe):
    for _ in range(100):
        pipe.write(bytes(1 << 16))


def test_what_is_sent_arrives(agent, tmp_path):
    done = send("host", f"cat >{tmp_path}/there", much, 250, lambda: True)
    assert done.code == 0 and (tmp_path / "there").read_bytes() == bytes(100 << 16)


def test_a_host_that_takes_nothing_is_given_up(agent):
    assert send("host", "exec sleep 1000", much, 0.5, lambda: True).code is None
    assert send("host", "cat >/dev/null; exec sleep 1000", much, 0.5, lambda: True).code is None


def test_nothing_more_is_sent_when_we_are_asked_to_stop(agent):
    assert send("host", "exec sleep 1000", much, 250, lambda: False).code is None


def test_a_host_that_ends_early_says_why(agent):
    done = send("host", "echo no room >&2; exit 3", much, 250, lambda: True)
    assert (done.code, done.last_words) == (3, "no room")
