"""The Compose file: it says what was asked, and the one in docker/ is the same with variables."""

from pathlib import Path

import pytest
import yaml

from distprop.launch.compose import Containers, compose_file, services

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples"


def content(config="a.toml", overrides=(), **changes):
    place = Containers(**{"image": "distprop", "folder": "/data", "key": "/key", "workers": 3, "slots": 2, **changes})
    return yaml.safe_load(compose_file(place, Path(config), overrides, Path("runs/a")))


def test_what_is_printed_says_what_was_asked(distprop):
    options = ["--workers", "3", "--slots", "2", "--image", "me/d:1", "--key", "k", "--set", "training.epochs=2"]
    done = distprop("compose", "digits.toml", *options, folder=EXAMPLES)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    printed = yaml.safe_load(done.stdout)
    head, worker = printed["services"]["head"], printed["services"]["worker"]
    assert worker["image"] == head["image"] == "me/d:1" and worker["scale"] == 3
    assert head["environment"] == {"DISTPROP_WORKERS": "3", "DISTPROP_SLOTS": "2"}
    assert head["command"][1:6] == ["train", "digits.toml", "--run", "runs/digits", "--or-resume"]
    assert head["command"][6:] == ["--set", "training.epochs=2"]
    assert head["volumes"][0]["source"] == str(EXAMPLES)
    assert printed["secrets"]["distprop_key"]["file"] == str(EXAMPLES / "k")


def test_the_head_waits_for_healthy_workers_and_has_time_for_a_checkpoint():
    head = content()["services"]["head"]
    assert head["depends_on"] == {"worker": {"condition": "service_healthy"}} and head["stop_grace_period"] == "2m"


def test_odd_names_stay_what_they_are():
    file = content("it's $HOME: #1.toml", ['data.train="${a}"'], folder='/a "b"')
    assert file["services"]["head"]["command"][2] == "it's $$HOME: #1.toml"  # $$ is how Compose writes a dollar
    assert file["services"]["head"]["command"][-1] == 'data.train="$${a}"'
    assert file["services"]["worker"]["volumes"][0]["source"] == '/a "b"'


def test_the_file_in_docker_is_the_same_with_variables():
    file = yaml.safe_load((ROOT / "docker" / "compose.yml").read_text())
    del file["x-distprop"]
    workers, slots = "${DISTPROP_WORKERS:-3}", "${DISTPROP_SLOTS:-1}"
    folder, key = "${DISTPROP_FOLDER:-..}", "${DISTPROP_KEY_FILE:-../distprop_key}"
    words = [
        "train",
        "${DISTPROP_CONFIG:-examples/digits.toml}",
        "--run",
        "${DISTPROP_RUN:-runs/digits}",
        "--or-resume",
    ]
    assert file == services(Containers("${DISTPROP_IMAGE:-distprop}", folder, key, workers, slots), words)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--workers", "3", "--slots", "4"], "12 ranks, but minibatches are cut into 8 shards"),
        (["--workers", "0"], "'0' is not a whole number of at least 1"),
        (["--workers", "2", "--run", "../run"], "../run: containers see only what is below the current folder"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_line(distprop, options, said):
    done = distprop("compose", "digits.toml", *options, folder=EXAMPLES)
    assert done.returncode == 2 and done.stdout == "" and said in done.stderr and done.stderr.count("\n") == 1
