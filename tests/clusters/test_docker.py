"""A real Docker: a daemon of our own builds the image and trains in containers, by the one command of the README."""

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import psutil
import pytest

from distprop.run_directory import RunDirectory

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "docker-compose": "docker-compose",
    "debootstrap": "debootstrap",
}
BASE = "debian:bookworm-slim"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
IMAGE = "distprop:tested"
USER = 1000
LARGEST_BYTES = 700e6  # what we put on the base; half of it is Arrow, LLVM and NumPy
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s[A-Za-z0-9+/=\s]{100}")
KEY_FILE = re.compile(r"ssh_host_|/authorized_keys$|/known_hosts$|/id_(rsa|ecdsa|ed25519)|distprop_key")
CONFIG = """
[data]
train = "train.csv"
[network]
layers = [{ type = "dense", units = 9, activation = "tanh" }, { type = "dense", units = 1 }]
loss = { type = "mean_squared_error" }
[training]
batch_size = 48
shards = 6
epochs = 5
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def run(command, **options):
    return subprocess.run(command, capture_output=True, check=False, **options)


class Docker:
    """The client's commands, for a daemon of our own."""

    def __init__(self, socket):
        self.environment = {
            "PATH": f"/usr/bin:{os.environ['PATH']}",  # Debian's client, which has BuildKit without a plugin
            "DOCKER_BUILDKIT": "1",
            "DOCKER_HOST": f"unix://{socket}",
            "DISTPROP_IMAGE": IMAGE,
            "DISTPROP_BUILD": f"--network host --secret id=certificates,src={CERTIFICATES}",
        }

    def __call__(self, *command, timeout_s=120):
        return run(["/usr/bin/docker", *command], env={**os.environ, **self.environment}, timeout=timeout_s)

    def answer(self, *command):
        return self(*command).stdout.decode().strip()


@pytest.fixture(scope="module")
def docker(daemons, need, until):
    """A daemon that changes no firewall, with the base image."""
    need(PROGRAMS)
    if any(process.name() == "dockerd" for process in psutil.process_iter()):
        pytest.skip("another dockerd runs here; its networks would be in the way")
    here = daemons.folder
    client = Docker(here / "socket")
    folders = [f"--data-root={here}/data", f"--exec-root={here}/exec", f"--pidfile={here}/pid"]
    network = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
    log = daemons(["dockerd", "--host", client.environment["DOCKER_HOST"], *folders, *network])
    until(lambda: client("info").returncode == 0 or not daemons.running(), "dockerd")
    if not daemons.running():
        pytest.skip(f"dockerd can't run here: {log.read_text().splitlines()[-1]}")
    if client("pull", BASE).returncode != 0:
        make_base(client, here)
    yield client
    for container in client.answer("ps", "--all", "--quiet").split():
        client("container", "rm", "--force", container)
    client("network", "prune", "--force")
    daemons.end()
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(here)):
            run(["umount", "--lazy", line.split()[1]], timeout=60)
    shutil.rmtree(here, ignore_errors=True)


def make_base(client, folder):
    """The base image from Debian's packages: no registry is in reach."""
    root, archive = folder / "root", folder / "root.tar"
    made = run(["debootstrap", "--variant=minbase", "bookworm", root], timeout=900)
    if made.returncode != 0:
        pytest.skip("neither a registry nor Debian's packages are in reach")
    assert run(["tar", "--create", "--directory", root, "--file", archive, "."], timeout=300).returncode == 0
    assert client("import", archive, BASE, timeout_s=300).returncode == 0
    shutil.rmtree(root)
    archive.unlink()


@pytest.fixture(scope="module")
def image(docker):
    """The image, built as docker/launch builds it."""
    words = docker.environment["DISTPROP_BUILD"].split()
    words += ["--build-arg", f"USER_ID={USER}", "--file", ROOT / "docker" / "Dockerfile", "--tag", IMAGE]
    built = docker("build", *words, ROOT, timeout_s=900)
    assert built.returncode == 0, built.stderr.decode()[-3000:]
    return IMAGE


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "train.csv").write_text("x,y,target\n" + "".join(f"{n % 7},{n % 5},{n % 3}\n" for n in range(400)))
    (folder / "small.toml").write_text(CONFIG)
    return folder


def test_no_key_is_in_any_layer_and_nobody_is_root(docker, image, tmp_path):
    assert docker("save", "--output", tmp_path / "image.tar", image, timeout_s=300).returncode == 0
    found, files = [], 0
    with tarfile.open(tmp_path / "image.tar") as saved:
        for layer in (member for member in saved if member.name.endswith("layer.tar")):
            with tarfile.open(fileobj=saved.extractfile(layer)) as content:
                for member in content:
                    files += 1
                    data = content.extractfile(member).read() if member.isfile() else b""
                    text = not data.startswith(b"\x7fELF")  # GnuTLS's library holds keys to test itself
                    if KEY_FILE.search(member.name) or (text and PRIVATE_KEY.search(data)):
                        found.append(member.name)
    assert files > 1000 and found == []
    (facts,) = json.loads(docker.answer("image", "inspect", image))
    assert facts["Config"]["User"] == "distprop"
    ids = docker.answer("run", "--rm", "--entrypoint", "id", image, "-u")
    assert ids == str(USER)
    assert facts["Size"] - int(docker.answer("image", "inspect", "--format", "{{.Size}}", BASE)) < LARGEST_BYTES


def test_a_worker_without_a_key_says_so(docker, image):
    done = docker("run", "--rm", image, "worker")
    assert done.returncode == 2  # Docker may have a warning of its own before
    assert b"\nthere is no key in /run/secrets/distprop_key" in b"\n" + done.stderr


def test_one_command_trains_in_a_single_container(docker, image, folder, distprop, run_command):
    launch = [ROOT / "docker" / "launch", "1", "small.toml", "runs/alone"]
    done = run_command(launch, environment=docker.environment, folder=folder, timeout_s=600)
    assert done.returncode == 0, done.stderr + done.stdout
    again = run_command(launch, environment=docker.environment, folder=folder, timeout_s=600)
    assert again.returncode == 0 and "runs/alone: this run is done" in again.stdout
    assert distprop("train", "small.toml", "-n", "1", "--run", "whole", folder=folder).returncode == 0
    digests = [distprop("digest", run, folder=folder).stdout for run in ("runs/alone", "whole")]
    assert digests[0] == digests[1] != ""


def test_one_command_trains_in_three_containers_with_the_bits_of_one_process(
    docker, image, folder, distprop, run_command
):
    environment = {**docker.environment, "DISTPROP_SLOTS": "2"}
    launch = [ROOT / "docker" / "launch", "3", "small.toml"]
    done = run_command(launch, environment=environment, folder=folder, timeout_s=600)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "runs/small: 6 ranks" in done.stdout and "epoch 5/5" in done.stdout
    for number in (1, 2, 3):
        assert re.search(rf"distprop_worker_{number}|distprop-worker-{number}", done.stdout + done.stderr)
    assert (folder / "distprop_key").stat().st_mode & 0o777 == 0o600
    whole = distprop("train", "small.toml", "-n", "1", "--run", "whole", folder=folder)
    assert whole.returncode == 0, whole.stderr
    digests = [distprop("digest", run, folder=folder).stdout for run in ("runs/small", "whole")]
    assert digests[0] == digests[1] != ""
    assert docker.answer("ps", "--all", "--quiet") == ""


@pytest.fixture
def compose(docker, image, folder, run_command):
    """Call it with the words of a command of Compose, in the folder, which is ready for a deployment of its own."""
    (folder / "distprop_key").write_bytes(docker("run", "--rm", image, "new-key").stdout)
    for path in (folder, folder / "distprop_key"):
        os.chown(path, USER, USER)
    (folder / "distprop_key").chmod(0o600)

    def run_compose(*words):
        command = ["docker-compose", "--file", "compose.yml", *words]
        return run_command(command, environment=docker.environment, folder=folder, timeout_s=600)

    return run_compose


@pytest.fixture
def deploy(compose, image, folder, distprop):
    """Call it to start a run in so many workers."""

    def start(run, workers, settings):
        words = [word for setting in settings for word in ("--set", setting)]
        printed = distprop("compose", "small.toml", "--image", image, "--workers", workers, "--run", run, *words,
                           folder=folder)  # fmt: skip
        (folder / "compose.yml").write_text(printed.stdout)
        started = compose("up", "--detach")
        assert started.returncode == 0, started.stderr

    return start


def digest_of_one_process(distprop, folder, settings):
    words = [word for setting in settings for word in ("--set", setting)]
    assert distprop("train", "small.toml", "-n", "1", "--run", "whole", *words, folder=folder).returncode == 0
    return distprop("digest", "whole", folder=folder).stdout


def test_a_deployment_that_is_stopped_leaves_a_checkpoint_and_goes_on(docker, compose, deploy, folder, distprop, until):
    (folder / "odd $x.csv").write_text((folder / "train.csv").read_text())
    for epochs in (300, 3000, 30000):
        run, settings = f"runs/{epochs}", ["data.train=odd $x.csv", f"training.epochs={epochs}"]
        deploy(run, "2", settings)
        until(lambda: RunDirectory(folder / run).read_metrics(), "an epoch")  # noqa: B023
        assert compose("stop").returncode == 0
        (head,) = docker.answer("ps", "--all", "--quiet", "--filter", "name=head").split()
        if docker.answer("inspect", "--format", "{{.State.ExitCode}}", head) == "75":
            break
        compose("down")
    assert RunDirectory(folder / run).read_status()["phase"] == "stopped"
    again = compose("up", "--abort-on-container-exit", "--exit-code-from", "head")
    assert again.returncode == 0, again.stdout + again.stderr
    assert compose("down").returncode == 0
    assert distprop("digest", run, folder=folder).stdout == digest_of_one_process(distprop, folder, settings) != ""


def test_a_run_goes_on_without_a_worker_that_is_killed(docker, compose, deploy, folder, distprop, until):
    for epochs in (300, 3000, 30000):
        run = RunDirectory(folder / f"runs/{epochs}")
        settings = [f"training.epochs={epochs}", "checkpoint.every_steps=50"]
        deploy(f"runs/{epochs}", "3", settings)
        until(lambda: list(run.checkpoints.glob("step-*")), "a checkpoint")  # noqa: B023
        *_, worker = docker.answer("ps", "--quiet", "--filter", "name=worker").split()
        assert docker("kill", worker).returncode == 0
        (head,) = docker.answer("ps", "--all", "--quiet", "--filter", "name=head").split()
        code = docker("wait", head, timeout_s=300).stdout.decode().strip()
        said = docker("logs", head)
        assert compose("down").returncode == 0
        assert code == "0", said.stdout + said.stderr
        if (run.path / "incidents.jsonl").exists():
            break
    (incident,) = [json.loads(line) for line in (run.path / "incidents.jsonl").read_text().splitlines()]
    print(incident["reason"])
    assert incident["restarted"] and b"which can't be reached" in said.stderr
    golden = digest_of_one_process(distprop, folder, settings)
    assert distprop("digest", f"runs/{epochs}", folder=folder).stdout == golden != ""
