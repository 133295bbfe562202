"""distprop verify: a line for each file of a run, and an exit code that can be trusted."""

import json
import shutil
import sys

import numpy as np
import pytest

import distprop as dp
from distprop.cli import main
from distprop.run_directory import RunDirectory, generations


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that is done, with two checkpoints."""
    run = tmp_path_factory.mktemp("made") / "run"
    x = np.random.default_rng(1).normal(size=(64, 3))
    network = dp.Network([dp.Dense(5, "tanh"), dp.Dense(2)], loss=dp.SoftmaxCrossEntropy())
    data, rules = dp.Dataset(x, (x[:, 0] > 0).astype(int)), dp.Checkpoint(every_seconds=0)
    dp.train(network, data, data, epochs=3, batch_size=16, run=run, checkpoint=rules, verbose=False)
    return run


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def lines_of(run, capsys, code):
    """What verify prints, by the name of the file: "ok" or "BAD", and the rest."""
    assert main(["verify", str(run.path)]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    return {line.split()[0]: line.split(maxsplit=2)[1:] for line in printed.out.splitlines()}


def bad(lines):
    return {name: rest[1] for name, rest in lines.items() if rest[0] != "ok"}


def flip(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def other_units(path):
    path.write_text(path.read_text().replace("units = 5", "units = 6"))


def test_a_run_as_it_was_written_is_good(run, capsys):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    lines = lines_of(run, capsys, 0)
    newest, older = (f"checkpoints/{path.name}" for path in generations(run.checkpoints))
    assert list(lines) == ["config.toml", "status.json", "metrics.jsonl", newest, older, "model.safetensors"]
    assert bad(lines) == {} and lines[newest][1].startswith("3 files, ")
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("file", "damage", "name", "says"),
    [
        ("checkpoints/step-0000000012-epoch-000003/params.safetensors", flip, None, "params.safetensors: damaged: its"),
        ("checkpoints/step-0000000008-epoch-000002/manifest.json", flip, None, "manifest.json: damaged"),
        ("checkpoints/step-0000000008-epoch-000002/best.safetensors", lambda p: p.unlink(), None, "is missing"),
        ("model.safetensors", flip, "model.safetensors", "damaged: its content has another SHA-256"),
        ("model.safetensors", lambda p: p.unlink(), "model.safetensors", "is missing"),
        ("status.json", lambda p: p.write_text("{"), "status.json", "damaged"),
        ("metrics.jsonl", lambda p: flip(p, 0), "metrics.jsonl", "metrics.jsonl, line 1: damaged"),
        (
            "config.toml",
            lambda p: p.write_text(p.read_text().replace("units = 5", "units = 6")),
            "config.toml",
            "isn't",
        ),
        ("config.toml", lambda p: flip(p, 0), "config.toml", "config.toml:1: "),
    ],
)
def test_what_is_wrong_is_named_and_the_rest_is_good(run, capsys, file, damage, name, says):
    damage(run.path / file)
    found = bad(lines_of(run, capsys, 4))
    assert list(found) == [name or file.rpartition("/")[0]] and says in found.popitem()[1]


def test_a_checkpoint_that_the_metrics_tell_of_and_is_gone_is_missed(run, capsys):
    newest = generations(run.checkpoints)[0]
    shutil.rmtree(newest)
    assert bad(lines_of(run, capsys, 4)) == {f"checkpoints/{newest.name}": f"checkpoints/{newest.name}: is no folder"}


def test_a_model_without_a_record_of_its_sum_carries_one_itself(run, capsys):
    status = json.loads(run.status.read_text())
    del status["model"]
    run.status.write_text(json.dumps(status))
    assert bad(lines_of(run, capsys, 0)) == {}
    flip(run.model)
    assert "another SHA-256" in bad(lines_of(run, capsys, 4))["model.safetensors"]


def test_one_json_object_on_demand(run, capsys):
    flip(run.model)
    assert main(["verify", str(run.path), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["good"] is False and [one["name"] for one in found["files"] if one["problem"]] == ["model.safetensors"]


def test_what_is_no_run_is_said_so(tmp_path, capsys):
    assert main(["verify", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err


def test_verifying_imports_nothing_heavy(run, run_command):
    heavy = "{'numba', 'numpy', 'mpi4py', 'pydantic', 'safetensors'}"
    code = f"import sys; from distprop.cli import main; main(sys.argv[1:]); sys.exit(str({heavy} & set(sys.modules)))"
    done = run_command([sys.executable, "-c", code, "verify", run.path])
    assert done.stderr.strip() == "set()"
