"""The sbatch script: what it asks Slurm for, what a shell makes of it, and what is refused."""

import sys
from pathlib import Path

import pytest

from distprop.errors import UsageError
from distprop.launch.machine import allocated_slots
from distprop.launch.slurm import Job, sbatch_script

CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[training]
batch_size = 16
shards = 4
epochs = 2
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'it\'s $HOME; "a" folder'
    folder.mkdir()
    for name in ("train.csv", "it's $HOME.csv"):
        (folder / name).write_text("x,target\n" + "".join(f"{n % 7},{n % 3}\n" for n in range(50)))
    (folder / "small $net.toml").write_text(CONFIG)
    return folder


def script(run=None, **changes):
    job = Job(**{"name": "small", "nodes": 2, "ntasks_per_node": 3, **changes})
    return sbatch_script(job, Path("small.toml"), [], run, Path("/data"), "/bin/python")


def test_the_script_asks_for_what_was_asked():
    lines = script(time="2:00:00", options=("partition=short", "exclusive"), stop_before_s=300).splitlines()
    assert {line for line in lines if line.startswith("#SBATCH")} == {
        "#SBATCH --job-name=small",
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=3",
        "#SBATCH --time=2:00:00",
        "#SBATCH --signal=B:USR1@300",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --partition=short",
        "#SBATCH --exclusive",
    }


def test_the_script_trains_and_when_it_is_run_again_goes_on(folder, distprop, run_command):
    options = ["--ntasks-per-node", "2", "--set", "data.train=it's $HOME.csv"]
    printed = distprop("slurm", "small $net.toml", *options, folder=folder)
    assert printed.returncode == 0, printed.stderr
    (folder.parent / "job.sh").write_text(printed.stdout)
    job = {"SLURM_JOB_ID": "17", "SLURM_NTASKS": "2"}
    first, second = (run_command(["bash", "job.sh"], environment=job) for _ in range(2))
    assert first.returncode == 0 and first.stdout.startswith("runs/small $net-17: 2 ranks\n"), first.stderr
    assert second.returncode == 0 and second.stdout.startswith("runs/small $net-17: this run is done\n")
    assert "it's $HOME.csv" in (folder / "runs" / "small $net-17" / "config.toml").read_text()


def test_a_run_of_ones_own_is_the_same_for_each_job(folder):
    assert " --run '/data/my run' --or-resume &\n" in script(run=Path("/data/my run"))


@pytest.mark.parametrize("time", ["4", "4:00", "0:04:00", "0-0:4", "1-0", "2-3:04:05", "90"])
def test_every_form_of_a_time_is_known(time):
    assert f"--time={time}\n" in script(time=time)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time": "soon"}, "--time 'soon': not a time"),
        ({"time": "1:2:3:4"}, "not a time"),
        ({"time": "3:59"}, "--time 3:59: training stops 120 seconds before"),
        ({"time": "3"}, "leaves too little"),
        ({"options": ("partition short",)}, "write NAME=VALUE"),
        ({"options": ("--exclusive",)}, "write NAME=VALUE"),
        ({"options": ("nodes=4",)}, "sets nodes itself"),
        ({"options": ("comment=a\nb",)}, "not an option of sbatch"),
        ({"name": "a\nb"}, "choose another name"),
        ({"name": "\udcff"}, "choose another name"),
        ({"run": Path("\udcff")}, "not UTF-8"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line(changes, said):
    with pytest.raises(UsageError, match=said) as caught:
        script(**changes)
    assert "\n" not in str(caught.value)


def test_more_ranks_than_shards_are_refused(folder, distprop):
    done = distprop("slurm", "small $net.toml", "--nodes", "2", "--ntasks-per-node", "3", folder=folder)
    assert done.returncode == 2 and done.stdout == "" and "6 ranks, but minibatches are cut into 4" in done.stderr


def test_without_sbatch_submit_says_what_to_do(folder, distprop):
    path = {"PATH": str(Path(sys.executable).parent)}
    done = distprop("slurm", "small $net.toml", "--ntasks-per-node", "1", "--submit", folder=folder, environment=path)
    assert done.returncode == 2 and done.stderr.startswith("--submit: there is no sbatch on PATH")


@pytest.mark.parametrize(
    ("environment", "slots"),
    [
        ({}, 0),
        ({"SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "4", "SLURM_JOB_CPUS_PER_NODE": "8(x2)"}, 4),
        ({"SLURM_JOB_NUM_NODES": "4", "SLURM_JOB_CPUS_PER_NODE": "2(x3),16"}, 22),
        ({"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_CPUS_PER_NODE": "8"}, 0),  # this process's cores are known better
        ({"PBS_NUM_NODES": "2", "PBS_NP": "6"}, 6),
        ({"SLURM_NTASKS": "many"}, 0),
    ],
)
def test_the_ranks_of_an_allocation_are_its_tasks(environment, slots):
    assert allocated_slots(environment) == slots
