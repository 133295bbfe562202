"""The MPIJob: it is valid by the operator's rules, and says what was asked."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from distprop.errors import UsageError
from distprop.launch.clusters import yaml_text
from distprop.launch.kubernetes import Pods, mpi_job

SCHEMA = json.loads((Path(__file__).parent / "mpijob.schema.json").read_text())
EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def manifest(overrides=(), config="a.toml", run="runs/a", **changes):
    pods = Pods(**{"name": "a", "image": "distprop", "claim": "work", "workers": 3, "slots": 2, **changes})
    return yaml.safe_load(mpi_job(pods, Path(config), overrides, Path(run)))


def printed(distprop, *options):
    done = distprop("kubernetes", "digits.toml", "--claim", "work", *options, folder=EXAMPLES)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return yaml.safe_load(done.stdout)


def test_what_is_printed_is_valid_and_says_what_was_asked(distprop):
    job = printed(
        distprop,
        "--workers",
        "3",
        "--slots",
        "2",
        "--image",
        "me/d:1",
        "--memory",
        "7Gi",
        "--restarts",
        "5",
        "--name",
        "mine",
    )
    jsonschema.validate(job, SCHEMA)
    spec, worker = job["spec"], job["spec"]["mpiReplicaSpecs"]["Worker"]
    assert job["metadata"]["name"] == "mine" and spec["runPolicy"]["backoffLimit"] == 5
    assert (worker["replicas"], spec["slotsPerWorker"]) == (3, 2)
    (container,) = worker["template"]["spec"]["containers"]
    assert container["image"] == "me/d:1" and container["resources"]["limits"] == {"cpu": "2", "memory": "7Gi"}


def test_the_launcher_waits_for_workers_and_goes_on_with_the_run_when_it_is_started_again():
    spec = manifest()["spec"]
    launcher = spec["mpiReplicaSpecs"]["Launcher"]
    (container,) = launcher["template"]["spec"]["containers"]
    assert spec["launcherCreationPolicy"] == "WaitForWorkersReady" and launcher["restartPolicy"] == "OnFailure"
    assert container["args"] == ["train", "a.toml", "--run", "runs/a", "--or-resume", "--hostfile", "/etc/mpi/hostfile"]


def test_odd_names_stay_what_they_are():
    job = manifest(overrides=["data.train='a: \"b\" #$(HOME)\n'"], config="it's a.toml", run="runs/-")
    jsonschema.validate(job, SCHEMA)
    args = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0]["args"]
    assert args[:4] == ["train", "it's a.toml", "--run", "runs/-"]
    assert args[-1] == "data.train='a: \"b\" #$$(HOME)\n'"  # $$ is how Kubernetes writes a dollar there


def test_nobody_is_root():
    for replicas in manifest()["spec"]["mpiReplicaSpecs"].values():
        assert replicas["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("name", ["", "A", "my job", "-a", "a-", "1a", "ä", "a" * 43, "a.b", "a_b"])
def test_a_name_that_hosts_can_not_have_is_refused(name):
    with pytest.raises(UsageError, match=r"can't name hosts: give --name"):
        manifest(name=name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "9"], "9 ranks, but minibatches are cut into 8 shards"),
        (["--workers", "2", "--run", "/tmp/run"], "/tmp/run: containers see only what is below the current folder"),
        (["--workers", "2", "--name", "My job"], "'My job' can't name hosts: give --name of at most 42 characters"),
        (["--workers", "2", "--memory", "4"], "'4' is not a size such as 4Gi"),
        (["--workers", "2", "--set", "training.epocs=3"], 'did you mean "epochs"?'),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line(distprop, options, said):
    done = distprop("kubernetes", "digits.toml", "--claim", "work", *options, folder=EXAMPLES)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("change", [{"slotsPerWorker": 0}, {"launcherCreationPolicy": "Later"}, {"sloths": 1}])
def test_the_rules_refuse_what_is_wrong(change):
    job = manifest()
    job["spec"] |= change
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.from_regex(r"key[A-Za-z]{0,9}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_yaml_is_read_as_what_was_written(value):
    assert yaml.safe_load(yaml_text(value)) == value
