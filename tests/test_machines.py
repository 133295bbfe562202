"""Several machines, as network namespaces of this one: ranks that talk by messages give the bits of one rank alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import hosts  # noqa: E402

CONFIG = """
seed = 3
[data]
train = "train.csv"
columns = { target = "y" }
[network]
layers = [
    { type = "dense", units = 300, activation = "relu" },
    { type = "dense", units = 500, activation = "tanh" },
    { type = "dense", units = 400, activation = "relu" },
    { type = "dense", units = 3 },
]
loss = { type = "softmax_cross_entropy" }
[optimizer]
type = "adam"
clip_norm = CLIP
[training]
epochs = 30
batch_size = 150
shards = 8
"""


@pytest.fixture(params=["0.5", "inf"])
def config(request, tmp_path):
    """Networks of several buckets. The last minibatch is ragged."""
    rows = [f"{n % 7},{n * n % 11},{n * 13 % 17},{'abc'[n // 2 % 3]}" for n in range(400)]
    (tmp_path / "train.csv").write_text("\n".join(["a,b,c,y", *rows]) + "\n")
    clip = "" if request.param == "inf" else f"clip_norm = {request.param}"
    (tmp_path / "small.toml").write_text(CONFIG.replace("clip_norm = CLIP", clip))
    return "small.toml"


@pytest.mark.long
@pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))
@pytest.mark.parametrize("slots", [(1, 1, 1), (2, 1, 3)])
def test_any_number_of_machines_gives_the_bits_of_one_rank(distprop, run_command, config, slots):
    def digest(run):
        return distprop("digest", run).stdout.strip()

    one = distprop("train", config, "-n", "1", "--run", "one")
    assert one.returncode == 0, one.stderr
    with hosts.hosts(len(slots)) as made:
        places = ",".join(f"{name}:{count}" for name, count in zip(made.names, slots, strict=True))
        train = [sys.executable, "-m", "distprop.cli", "train", config, "--hosts", places, "--run", "many"]
        done = run_command(made.on(made.names[0], train), environment=made.environment)
    assert done.returncode == 0, done.stderr
    assert len(digest("one")) == 64 and digest("many") == digest("one")


LIBFABRIC = {"MPIR_CVAR_CH4_NETMOD": "ofi"}  # of MPICH, which would use UCX


@pytest.mark.long
@pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))
@pytest.mark.parametrize("config", ["inf"], indirect=True)
def test_hosts_with_the_same_docker_network_train_with_the_bits_of_one_rank(distprop, run_command, config):
    assert distprop("train", config, "-n", "1", "--run", "one").returncode == 0
    golden = distprop("digest", "one").stdout
    with hosts.hosts(3, docker=True) as made:
        places = ",".join(f"{name}:1" for name in made.names)
        here = made.names[0]

        def on_hosts(*words, variables=None):
            command = [sys.executable, "-m", "distprop.cli", *words, "--hosts", places]
            return run_command(made.on(here, command), environment={**made.environment, **(variables or {})})

        by_default = on_hosts("train", config, "--run", "default")
        forced = on_hosts("train", config, "--run", "forced", "--interface", "eth0", variables=LIBFABRIC)
        by_file = on_hosts("train", config, "--run", "file", "--set", "launch.interface=eth0")
        wrong = on_hosts("train", config, "--run", "wrong", "--interface", "nonsense")
        looked = on_hosts("doctor", "--interface", "eth0")
        for words in (["link", "add", "eth9", "type", "bridge"], ["address", "add", "192.0.2.9/24", "dev", "eth9"]):
            subprocess.run(["ip", "-n", here, *words], check=True)
        alone = on_hosts("train", config, "--run", "alone", "--interface", "eth9")
    for name, done in (("default", by_default), ("forced", forced), ("file", by_file)):
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr  # no restart
        assert distprop("digest", name).stdout == golden != ""
    there = r"lo \(127\.0\.0\.1\), eth0 \(10\.91\.0\.1\), docker0 \(172\.17\.0\.1\)"
    assert wrong.returncode == 2 and not Path("wrong").exists()
    assert re.fullmatch(
        rf".* no network interface 'nonsense' with an IPv4 address; give one of {there}\n", wrong.stderr
    )
    assert alone.returncode == 2 and not Path("alone").exists()
    lacking = [f"{name}: has no network interface 'eth9' with an IPv4 address" for name in made.names[1:]]
    assert [line.rpartition(", but")[0] for line in alone.stderr.splitlines()] == lacking
    assert looked.returncode == 0, looked.stdout
    assert "eth0 (10.91.0.1) between hosts; not lo (127.0.0.1), docker0 (172.17.0.1)" in looked.stdout


@pytest.mark.long
@pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))
def test_the_doctor_measures_what_links_can_do(run_command):
    with hosts.hosts(3, rate_mbit=200) as made:
        places = f"{made.names[0]}:2,{made.names[1]}:1,{made.names[2]}:1"
        doctor = [sys.executable, "-m", "distprop.cli", "doctor", "--hosts", places]
        done = run_command(made.on(made.names[0], doctor), environment=made.environment)
    assert done.returncode == 0, done.stdout
    found = re.findall(r"messages  (on|between) .*: [\d,]+ µs, ([\d,]+) MB/s", done.stdout)
    assert [where for where, _ in found] == ["on", "between", "between", "between"]
    speeds = [int(speed.replace(",", "")) for _, speed in found]
    assert all(speed <= 30 for speed in speeds[1:]) and speeds[0] > max(speeds[1:])  # 200 Mbit/s are 25 MB/s
