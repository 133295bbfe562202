"""`distprop plan` as it is used."""

import json

import pytest

CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 40, activation = "tanh" }, { type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[training]
batch_size = 24
shards = 4
epochs = 3
"""


@pytest.fixture
def config(tmp_path):
    rows = "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(96))
    (tmp_path / "train.csv").write_text("x,y,target\n" + rows)
    (tmp_path / "net.toml").write_text(CONFIG)
    return "net.toml"


@pytest.mark.long
def test_a_plan_has_a_row_for_each_number_of_ranks(config, distprop):
    done = distprop("plan", config, "--ranks", "2:64", "--ranks-per-host", "3", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["ranks"]: row for row in found["rows"]}
    assert sorted(rows) == [1, 2, 3, 4, 8, 16, 24]  # no more than a minibatch has rows
    assert [len(rows[ranks]["machines"]) for ranks in sorted(rows)] == [1, 1, 1, 2, 3, 6, 8]
    assert [rows[ranks]["shards"] for ranks in sorted(rows)] == [4, 4, 4, 4, 8, 16, 24]
    assert rows[1]["measured_step_s"] > 0 and rows[24]["measured_step_s"] is None
    assert all(row["predicted_step_s"] > 0 and row["bytes_per_host"] > 2**20 for row in rows.values())
    assert rows[1]["speedup"] == 1 and rows[1]["waiting_s"] == 0
    assert not found["link_measured"]


@pytest.mark.long
def test_a_slower_link_makes_steps_between_hosts_longer(config, distprop):
    def step_s(*link):
        done = distprop("plan", config, "--ranks", "4", "--ranks-per-host", "1", *link, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["rows"][-1]["predicted_step_s"]

    assert step_s("--latency-us", "1000000") > 1 and step_s("--bandwidth-gbit", "0.000001") > 1


def test_a_plan_recommends_and_warns(config, distprop):
    done = distprop("plan", config, "--ranks", "8", "--ranks-per-host", "1", "--latency-us", "100000")
    assert done.returncode == 0, done.stderr
    assert "recommended: 1 rank on 1 host" in done.stdout
    assert "ranks are slower than 1: a step takes" in done.stdout
    assert "8*" in done.stdout and "* more than training.shards, 4" in done.stdout
    assert "100000 µs" in done.stdout and "predicted rows are a model's" in done.stdout


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--ranks", "4:2"], "not a range"),
        (["--ranks", "none"], "not a whole number"),
        (["--ranks", "25:30"], "a minibatch has 24 samples"),
        (["--latency-us", "0"], "not a number above 0"),
        (["--bandwidth-gbit", "fast"], "not a number above 0"),
        (["--hosts", "a:1", "--ranks-per-host", "2"], "not allowed with"),
        (["--hosts", "a:x"], "is not a host with a number of ranks"),
        (["--set", "training.exchange=allreduce"], "knows training.exchange = \"ordered\" only"),
        (["--set", "training.epochs=none"], "training.epochs"),
    ],
)  # fmt: skip
def test_nonsense_is_one_error(config, distprop, options, problem):
    done = distprop("plan", config, *options)
    assert done.returncode == 2 and problem in done.stderr and "Traceback" not in done.stderr
