"""Hosts that share no files: what ranks read is sent, what they have written is fetched, the model is the same."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distprop.launch.mirror import MARK
from distprop.paths import cache_folder

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import hosts  # noqa: E402

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing())),
]


class Apart:
    """Three hosts, of which the others don't see the folder of the first, nor its cache of data."""

    def __init__(self, made, paced, run_command):
        self.made, self.paced, self.run_command = made, paced, run_command
        self.first, *self.others = made.names
        for folder in (paced.folder, *(made.own / name for name in self.others)):
            self.cache(folder).mkdir()
            (self.cache(folder) / "kernels").symlink_to(cache_folder("kernels").absolute())

    def cache(self, folder):
        return folder / f"cache-{self.made.own.parent.name}"  # another one for each test

    def folder(self, name):
        """By which we see what a host other than the first sees as the private folder."""
        return self.made.own / name

    def command(self, what, name, *options, order=None):
        places = ",".join(f"{host}:1" for host in order or self.made.names)
        config = ["paced.toml", "--run", name] if what == "train" else [name]
        return self.made.on(self.first, self.paced.command(what, *config, "--hosts", places, *options))

    @property
    def place(self):
        variables = {**self.made.environment, "DISTPROP_CACHE": str(self.cache(self.paced.folder))}
        return {"environment": variables, "folder": self.paced.folder}

    def train(self, name, *options, variables=None, **given):
        place = self.place
        place["environment"] |= variables or {}
        return self.run_command(self.command("train", name, *options, **given), **place)

    def kill_all_on(self, name):
        for process in self.made.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def step(self, name):
        """That of this start of the ranks; 0 if they aren't training yet."""
        status, ended = self.paced.run(name).read_status(), [one["time"] for one in self.paced.incidents(name)]
        training = status and status["phase"] == "training" and status["time"] > max(ended, default=0)
        return status["step"] if training else 0

    def left(self, name):
        """All files of a host's folder, without its cache."""
        found = (path.relative_to(self.folder(name)) for path in self.folder(name).rglob("*") if not path.is_dir())
        return sorted(str(path) for path in found if not path.parts[0].startswith("cache-"))


@pytest.fixture
def apart(paced, run_command):
    with hosts.hosts(3, private=paced.folder) as made:
        yield Apart(made, paced, run_command)


def sent(output):
    return [line.split(":")[0] for line in output.splitlines() if ": sent " in line and line.endswith(" of data")]


def test_hosts_without_common_files_make_the_same_model_and_get_data_once(apart):
    done = apart.train("apart")
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.paced.digest("apart") == apart.paced.golden
    assert sent(done.stdout) == apart.others
    logs = {path.name for path in (apart.paced.folder / "apart" / "logs").iterdir()}
    assert logs >= {"rank-1.log", "rank-2.log"}
    again = apart.train("apart-again", order=apart.made.names[::-1])  # rank 0 is here nevertheless
    assert again.returncode == 0, again.stdout + again.stderr
    assert apart.paced.digest("apart-again") == apart.paced.golden
    assert sent(again.stdout) == []
    assert [apart.left(name) for name in apart.others] == [[], []]


def test_nothing_is_sent_to_hosts_that_share_the_folder(paced, run_command):
    with hosts.hosts(2) as made:
        command = paced.command("train", "paced.toml", "--run", "shared", "--hosts", ",".join(made.names))
        done = run_command(made.on(made.names[0], command), environment=made.environment, folder=paced.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert paced.digest("shared") == paced.golden and sent(done.stdout) == []
    assert not (paced.folder / "shared" / MARK).exists()
    assert {"rank-0.log", "rank-1.log"} <= {path.name for path in (paced.folder / "shared" / "logs").iterdir()}


def test_data_that_a_host_has_at_the_same_path_are_not_sent(apart):
    for name in apart.others:
        subprocess.run(["cp", "-p", apart.paced.folder / "train.csv", apart.folder(name)], check=True)
    os.utime(apart.folder(apart.others[1]) / "train.csv")  # this one may be another file
    done = apart.train("same-data")
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.paced.digest("same-data") == apart.paced.golden and sent(done.stdout) == apart.others[1:]


def test_a_stopped_run_is_resumed_on_fewer_hosts(apart):
    with apart.run_command.start(apart.command("train", "fewer"), **apart.place) as launcher:
        wait_for_checkpoint(apart.paced, "fewer", launcher)
        launcher.send_signal(signal.SIGTERM)
        output, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 75, output + errors
    assert [apart.left(name) for name in apart.others] == [[], []]
    resume = apart.command("resume", "fewer", order=[apart.others[1], apart.first])
    done = apart.run_command(resume, **apart.place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.paced.digest("fewer") == apart.paced.golden and sent(done.stdout) == []


@pytest.mark.parametrize("loss", ["power", "killed"])
def test_a_run_goes_on_from_its_checkpoint_when_a_host_is_lost(apart, loss):
    name, lost = f"apart-{loss}", apart.others[0]
    with apart.run_command.start(apart.command("train", name), **apart.place) as launcher:
        wait_for_checkpoint(apart.paced, name, launcher)
        if loss == "power":
            apart.made.cut(lost)
        apart.kill_all_on(lost)
        output, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, output + errors
    assert apart.paced.digest(name) == apart.paced.golden
    assert "starting again from step-" in errors
    assert sent(output) == apart.others
    if loss == "power":
        assert f"going on without {lost}, which can't be reached" in errors


def test_a_host_that_is_back_gets_what_it_needs_again(apart):
    longer, (lost, other) = ["--set", "training.steps=2000"], apart.others
    with apart.run_command.start(apart.command("train", "back", *longer), **apart.place) as launcher:
        wait_for_checkpoint(apart.paced, "back", launcher)
        apart.made.cut(lost)
        apart.kill_all_on(lost)
        wait_for(lambda: apart.paced.incidents("back") and apart.step("back"), launcher)
        apart.made.mend(lost)
        before = apart.step("back")
        wait_for(lambda: apart.step("back") > before + 100, launcher)
        apart.kill_all_on(other)
        output, errors = launcher.communicate(timeout=200)
    assert launcher.returncode == 0, output + errors
    assert len(apart.paced.incidents("back")) == 2 and errors.count("going on without") == 1
    *_, last = (one for one in apart.paced.run("back").read_metrics() if one["kind"] == "epoch")
    assert len(last["seconds"]["exchange"]) == 3  # ranks
    alone = apart.run_command(apart.paced.command("train", "paced.toml", "-n", "2", "--run", "alone", *longer),
                              folder=apart.paced.folder)  # fmt: skip
    assert alone.returncode == 0 and apart.paced.digest("back") == apart.paced.digest("alone")


def wait_for(condition, launcher):
    while not condition():
        assert launcher.poll() is None, launcher.communicate()
        time.sleep(0.01)


def wait_for_checkpoint(paced, name, launcher):
    wait_for(lambda: list((paced.folder / name / "checkpoints").glob("step-*")), launcher)


def test_the_error_of_a_rank_on_another_host_is_told(apart):
    fault = {"FAULT": json.dumps({"kind": "fail", "rank": 2, "step": 50})}
    done = apart.train("failing", variables=fault)
    assert done.returncode == 1
    assert "ValueError: this rank fails\nrank 2 ended with ValueError; the run has ended" in done.stderr


def test_the_stacks_of_a_rank_that_crashes_on_another_host_are_kept(apart):
    fault = {"FAULT": json.dumps({"kind": "crash", "rank": 1, "step": 50})}
    done = apart.train("crashing", "--max-restarts", "0", variables=fault)
    assert done.returncode == 1
    log = apart.paced.folder / "crashing" / "incidents" / "1" / "rank-1.log"
    assert "Segmentation fault" in log.read_text()


def test_a_run_that_a_host_has_under_this_name_is_neither_used_nor_touched(apart):
    theirs = apart.folder(apart.others[0]) / "stale"
    theirs.mkdir()
    (theirs / "config.toml").write_text("seed = 8\n")
    done = apart.train("stale")
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"{apart.others[0]}: {apart.paced.folder}/stale: there is something else on that host"
    )
    assert len(done.stderr.splitlines()) == 1 and (theirs / "config.toml").read_text() == "seed = 8\n"
    assert not (apart.paced.folder / "stale").exists()


def test_a_copy_of_an_earlier_run_is_replaced(apart):
    theirs = apart.folder(apart.others[0]) / "replaced"
    (theirs / "checkpoints" / "step-0000000400-epoch-000080").mkdir(parents=True)
    (theirs / "config.toml").write_text("seed = 8\n")
    (theirs / MARK).write_text("0123456789abcdef")
    done = apart.train("replaced")
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.paced.digest("replaced") == apart.paced.golden


def test_a_host_without_room_is_one_line(apart):
    lost = apart.others[1]
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(40000))
    (apart.paced.folder / "long.csv").write_text("x,y,target\n" + rows)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", apart.folder(lost)], check=True)
    try:
        done = apart.train("no-room", "--set", f'data.train="{apart.paced.folder}/long.csv"')
    finally:
        subprocess.run(["umount", "-l", apart.folder(lost)], check=True)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr == (
        f"{lost}: {apart.cache(apart.paced.folder)}/data: No space left on device; "
        "set DISTPROP_CACHE to a folder with room to write\n"
    )


def test_a_host_that_can_not_make_the_folder_is_one_line(apart):
    (apart.folder(apart.others[0]) / "blocked").write_text("")
    done = apart.train("blocked/run")
    assert done.returncode == 2
    folder = apart.paced.folder / "blocked" / "run"
    cure = "mend this on that host, or choose another --run"
    assert done.stderr == f"{apart.others[0]}: {folder}: Not a directory; {cure}\n" and not folder.exists()


def test_hosts_may_share_files_among_each_other_alone(apart):
    shutil.rmtree(apart.folder(apart.others[1]))
    apart.folder(apart.others[1]).symlink_to(apart.folder(apart.others[0]))
    done = apart.train("in-pairs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.paced.digest("in-pairs") == apart.paced.golden
    for rank in (1, 2):
        assert (apart.paced.folder / "in-pairs" / "logs" / f"rank-{rank}.log").exists()


def test_rank_0_is_on_a_host_that_shares_the_folder(apart):
    shutil.rmtree(apart.folder(apart.others[1]))  # so it has none of its own
    done = apart.train("by-another", order=apart.others)
    assert done.returncode == 0, done.stdout + done.stderr
    assert apart.paced.digest("by-another") == apart.paced.golden and sent(done.stdout) == apart.others[:1]


def test_without_this_host_among_them_the_cure_is_told(apart):
    done = apart.train("elsewhere", order=apart.others)
    assert done.returncode == 2
    assert done.stderr.endswith(f"add this host to them: {apart.first}:1\n") and len(done.stderr.splitlines()) == 1


def test_steps_are_computed_again_by_hosts_without_common_files(apart):
    done = apart.train("recorded")
    assert done.returncode == 0, done.stderr
    replay = apart.command("replay", "recorded", "--steps", "170:240")
    again = apart.run_command(replay, **apart.place)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [apart.left(name) for name in apart.others] == [[], []]
