"""What is shown of a run: lines for epochs anywhere, a live line on a terminal only."""

import os
import pty
import sys
from pathlib import Path

import pytest

from distprop.launch.progress import Progress
from distprop.report import duration, status_line
from distprop.run_directory import RunDirectory

LAUNCHER = [sys.executable, Path(__file__).parent / "programs" / "launcher.py"]


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def report(run, phase, epochs, start_step=0):
    for epoch in epochs:
        run.append_metrics({"kind": "epoch", "epoch": epoch, "step": 10 * epoch, "loss": 0.5})
        run.append_metrics({"kind": "step", "epoch": epoch, "step": 10 * epoch + 1, "loss": 0.4})
    run.write_status({"phase": phase, "step": 10, "steps": 50, "epochs": 5, "start_step": start_step})


def test_each_epoch_is_shown_once(run, capsys):
    progress = Progress(live=False)
    progress.update(run, run.read_status())
    for epochs in ([1], [], [2, 3], [4]):
        report(run, "training", epochs)
        progress.update(run, run.read_status())
        progress.update(run, run.read_status())
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["1/5", "2/5", "3/5", "4/5"]


def test_a_resumed_run_shows_only_what_it_does_itself(run, capsys):
    report(run, "starting", [1, 2, 3])
    progress = Progress(live=False)
    progress.update(run, run.read_status())
    run.truncate_metrics(20)
    report(run, "training", [3], start_step=25)
    progress.update(run, run.read_status())
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["3/5"]


def test_a_status_line_has_speed_and_time_left():
    status = {"phase": "training", "step": 30, "steps": 120, "loss": 0.25}
    speed = {"samples_per_s": 12345.6, "seconds_left": 125.0}
    assert status_line(status | speed) == "step 30/120 (25 %)  loss 0.25  12,346 samples/s  2 min 05 s left"
    assert status_line({"phase": "compiling", "step": 0, "steps": 120}) == "compiling"


@pytest.mark.parametrize(("seconds", "text"), [(8.34, "8.3 s"), (125, "2 min 05 s"), (11220, "3 h 07 min")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_a_terminal_gets_a_live_line_without_colours_if_so_asked(run_command):
    text = on_terminal(run_command, {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\x1b[2K" in text and "epoch 3" in text and "digest" in text
    assert "\x1b[3" not in text.replace("\x1b[?25", "")


def test_a_reader_that_goes_away_does_not_end_the_training(run_command):
    with run_command.start([*LAUNCHER, 2, "short"]) as launcher:
        launcher.stdout.readline()
        launcher.stdout.close()
        launcher.wait(timeout=60)
        assert launcher.stderr.read() == "" and launcher.returncode == 0
    assert RunDirectory(run_command.folder / "run").read_status()["phase"] == "done"


def on_terminal(run_command, environment):
    """What the launcher writes to a terminal."""
    ours, theirs = pty.openpty()
    command = ["sh", "-c", 'exec "$@" > "$0"', os.ttyname(theirs), *map(str, LAUNCHER), "2", "short"]
    done = run_command(command, environment=environment)
    assert done.returncode == 0, done.stderr
    os.close(theirs)
    text = b""
    try:
        while part := os.read(ours, 65536):
            text += part
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    return text.decode()
