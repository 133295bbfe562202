"""Hosts that can't take part are told before mpirun is started: one line each, with the cure."""

import re
import sys
import time

import pytest

from distprop.launch import preflight

CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[training]
epochs = 2
batch_size = 32
"""
# Stands for ssh. What it says is what OpenSSH says.
AGENT = """#!/bin/sh
host=$1
shift
case $host in
unknown) echo "ssh: Could not resolve hostname unknown: Name or service not known" >&2; exit 255 ;;
refused) echo "ssh: connect to host refused port 22: Connection refused" >&2; exit 255 ;;
asking) echo "asking: Permission denied (publickey,password)." >&2; exit 255 ;;
dropped) sleep 1000 ;;
bare) exec sh -c "$(echo "$*" | sed 's#bin/python#bin/no-python#g')" ;;
poor) exec env PYTHONPATH=FOLDER/poor sh -c "$*" ;;
other) exec env PYTHONPATH=FOLDER/other sh -c "$*" ;;
elsewhere) exec sh -c "$(echo "$*" | sed 's#cd [^ ]*#cd /no/such/folder#')" ;;
*) exec sh -c "$*" ;;
esac
"""
EXPECTED = {
    "unknown": r"ssh: Could not resolve hostname unknown: .*; make this work without a question: .* unknown true",
    "refused": r"ssh: connect to host refused port 22: Connection refused; make this work without a question: .*",
    "asking": r"asking: Permission denied \(publickey,password\)\.; make this work without a question: .*",
    "dropped": r"doesn't answer within 1 s; see whether it is up, and reached by: .* dropped true",
    "bare": r"there is no .*; install distprop there under the same path",
    "poor": r"ImportError: no module here; install distprop there as it is here, .*",
    "other": r"numba is 9\.9, here it is [\d.]+; install the same there",
    "elsewhere": r".*/no/such/folder.*; install distprop there as it is here, and have .* there too",
}


@pytest.fixture
def train(tmp_path, run_command, monkeypatch):
    """Call it with a list of hosts to train on them."""
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(100))
    (tmp_path / "train.csv").write_text("x,y,target\n" + rows)
    (tmp_path / "small.toml").write_text(CONFIG)
    for name in ("poor/distprop", "other/numba-9.9.dist-info"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "poor/distprop/__init__.py").write_text('raise ImportError("no module here")\n')
    (tmp_path / "other/numba-9.9.dist-info/METADATA").write_text("Name: numba\nVersion: 9.9\n")
    agent = tmp_path / "agent"
    agent.write_text(AGENT.replace("FOLDER", str(tmp_path)))
    agent.chmod(0o755)
    program = (
        "import sys; from distprop import cli; from distprop.launch import preflight\n"
        "preflight.ANSWER_S = float(sys.argv.pop(1)); sys.exit(cli.main())"
    )
    variables = {"PRTE_MCA_plm_ssh_agent": str(agent), "HYDRA_LAUNCHER_EXEC": str(agent)}

    def run(hosts, limit_s=1000):
        command = [sys.executable, "-c", program, str(limit_s), "train", "small.toml", "--run", "run", "--hosts", hosts]
        return run_command(command, environment=variables)

    return run


@pytest.mark.parametrize("host", EXPECTED)
def test_a_host_that_can_not_take_part_is_one_line_with_the_cure(train, tmp_path, host):
    done = train(f"localhost:1,{host}:1", 1 if host == "dropped" else 1000)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.fullmatch(f"{host}: {EXPECTED[host]}\n", done.stderr), done.stderr
    assert not (tmp_path / "run").exists()


def test_all_hosts_are_asked_at_once_and_all_problems_told(train):
    done = train("refused:1,other:1,unknown:1")
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["refused", "other", "unknown"]


def test_this_host_is_not_asked():
    began = time.monotonic()
    assert preflight.check_hosts([preflight.Host("localhost", 2), preflight.Host("127.0.0.1", 1)]) == []
    assert time.monotonic() - began < preflight.ANSWER_S


def test_facts_name_what_must_be_alike():
    found = preflight.facts()
    assert found.cores >= 1
    assert set(found.alike) == {"Python", "the sources of the kernels", "MPI", *preflight.PACKAGES}
