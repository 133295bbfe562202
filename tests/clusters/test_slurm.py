"""A real Slurm: daemons of our own, with three virtual nodes on this machine."""

import os
import re
import socket
import subprocess

import psutil
import pytest

from distprop.run_directory import RunDirectory

PROGRAMS = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
NODES = ("n1", "n2", "n3")
CONFIGURATION = """
ClusterName=distprop
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PartitionName=usual Nodes=ALL Default=YES MaxTime=1:00:00 State=UP PriorityTier=1 GraceTime=240
PartitionName=urgent Nodes=ALL MaxTime=1:00:00 State=UP PriorityTier=2
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=1000\n"
CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 9, activation = "tanh" }, { type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[training]
batch_size = 48
shards = 6
"""


class Slurm:
    """The client's commands, for a cluster of our own."""

    def __init__(self, environment):
        self.environment = environment

    def __call__(self, *command):
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True,
                              timeout=60, check=False)  # fmt: skip
        return done.stdout.strip()

    def state(self, job):
        return self("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T")

    def told(self, job):
        """What Slurm knows of a job, for a test that fails."""
        return self("scontrol", "show", "job", job) + "\n" + "\n".join(self.log.read_text().splitlines()[-60:])

    def ended(self, job):
        return self.state(job) in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED")


@pytest.fixture(scope="module")
def slurm(daemons, free_ports, need, until):
    """A cluster with three nodes of two processors each."""
    need(PROGRAMS)
    here, host, ports = daemons.folder, socket.gethostname().split(".")[0], free_ports(1 + len(NODES))
    text = CONFIGURATION.format(host=host, folder=here, port=ports[0])
    text += "".join(NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:], strict=True))
    (here / "slurm.conf").write_text(text)
    key = here / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    export = f"ALL,DISTPROP_TEST_TOKEN={daemons.token}"  # jobs are not what `run_command` leaves behind
    client = Slurm({"SLURM_CONF": f"{here}/slurm.conf", "SBATCH_EXPORT": export, "OMPI_MCA_btl_tcp_if_include": "lo"})
    files = [f"--{name}-file={here}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    daemons(["munged", "--foreground", "--force", f"--socket={here}/munge.socket", *files])
    until((here / "munge.socket").exists, "munged")
    client.log = daemons(["slurmctld", "-D"], client.environment)
    for name in NODES:
        serve = f"hostname {name} && exec slurmd -D -N {name}"
        daemons(["unshare", "--mount", "--uts", "sh", "-c", serve], client.environment)
    until(
        lambda: client("sinfo", "--noheader", "--partition=usual", "--format", "%T %D") == "idle 3", "three idle nodes"
    )
    yield client
    for job in client("squeue", "--noheader", "--format", "%i").split():
        client("scancel", job)


@pytest.fixture
def folder(tmp_path):
    """A folder whose name a shell would take apart."""
    folder = tmp_path / 'it\'s a "folder"'
    folder.mkdir()
    (folder / "train.csv").write_text("x,y,target\n" + "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(400)))
    (folder / "small net.toml").write_text(CONFIG)
    return folder


def ranks():
    """The node and number of each rank that runs now, as their environments tell."""
    found = set()
    for process in psutil.process_iter():
        try:
            if "distprop.worker" in process.cmdline():
                variables = process.environ()
                number = variables.get("OMPI_COMM_WORLD_RANK") or variables.get("PMI_RANK")
                if number and "SLURMD_NODENAME" in variables:
                    found.add((variables["SLURMD_NODENAME"], int(number)))
        except (psutil.Error, OSError):
            continue
    return found


def steps(job):
    """Slurm's processes that look after a start of a job."""
    titles = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [title for title in titles if title.startswith(f"slurmstepd: [{job}.")]


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_job_that_is_preempted_queues_again_and_ends_with_the_bits_of_a_plain_run(slurm, folder, distprop, until):
    def submit(epochs):
        options = ["--nodes", "3", "--ntasks-per-node", "2", "--time", "50", "--sbatch", "output=log-%j", "--submit"]
        done = distprop("slurm", "small net.toml", *options, "--set", f"training.epochs={epochs}",
                        environment=slurm.environment, folder=folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return re.fullmatch(r"job (\d+): (.*)\n", done.stdout).groups()

    for epochs in (300, 3000, 30000):
        job, run = submit(epochs)
        log = folder / f"log-{job}"
        until(lambda: "epoch" in (log.read_text() if log.exists() else "") or slurm.ended(job), "an epoch")  # noqa: B023
        seen = ranks()
        urgent = slurm("sbatch", "--parsable", "--partition=urgent", "--nodes=3", "--ntasks-per-node=2",
                       "--output=/dev/null", "--wrap", "true")  # fmt: skip
        until(lambda: slurm.ended(urgent), "the urgent job's end")  # noqa: B023
        if not slurm.ended(job):
            break
    assert {node for node, _ in seen} == set(NODES) and {number for _, number in seen} == set(range(6))
    until(lambda: slurm.state(job) == "PENDING", "queued again")
    assert "stopped at step" in log.read_text() and re.search("Restarts=1 ", slurm("scontrol", "show", "job", job))
    until(
        lambda: not steps(job), "the first start's end"
    )  # Slurm waits 2 minutes lest its end be taken for the second's
    until(lambda: set(slurm("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}, "idle nodes")  # and it is known
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
    until(lambda: slurm.ended(job), "the job's end")
    text = log.read_text()
    assert text.count(f"{run}: 6 ranks") == 2 and f"epoch {epochs}/{epochs}" in text, text + slurm.told(job)
    records = RunDirectory(folder / run).read_metrics()
    assert [record["epoch"] for record in records if record["kind"] == "epoch"] == list(range(1, epochs + 1))
    whole = distprop("train", "small net.toml", "-n", "1", "--run", "whole", "--set", f"training.epochs={epochs}",
                     folder=folder)  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    assert distprop("digest", run, folder=folder).stdout == distprop("digest", "whole", folder=folder).stdout != ""


@pytest.mark.long
def test_what_sbatch_refuses_is_one_line(slurm, folder, distprop):
    options = ["--nodes", "1", "--ntasks-per-node", "1", "--sbatch", "partition=none", "--submit"]
    done = distprop("slurm", "small net.toml", *options, environment=slurm.environment, folder=folder)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.startswith("sbatch refused the job: ")
