"""The Compose file of a run: workers behind ssh, and a head that starts the ranks on them and watches them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distprop.launch.clusters import plain_text, yaml_text

HEADER = "# Trains on several containers; `docker compose up --abort-on-container-exit`, see docs/docker.md.\n"


@dataclass(frozen=True)
class Containers:
    """Where a run is: `workers` containers with `slots` ranks each. `folder` is the folder /work of all of them.

    `key` is the file of the private key by which they know each other. Numbers may be variables of Compose's, too.
    """

    image: str
    folder: str
    key: str
    workers: int | str
    slots: int | str


def compose_file(place: Containers, config: Path, overrides: Sequence[str], run: Path) -> str:
    """The file for a run; the configuration's and the run's paths are seen from /work."""
    settings = [word for override in overrides for word in ("--set", override)]
    words = ["train", str(config), "--run", str(run), "--or-resume", *settings]
    image, folder, key = map(_literal, (place.image, place.folder, place.key))
    given = Containers(image, folder, key, place.workers, place.slots)
    return plain_text(HEADER + yaml_text(services(given, [_literal(word) for word in words])), "distprop compose")


def services(place: Containers, words: Sequence[str]) -> dict[str, Any]:
    """The file's content; in all texts, $ starts a variable of Compose's."""
    usual = {
        "image": place.image,
        "init": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "secrets": ["distprop_key"],
        "volumes": [
            {"type": "bind", "source": place.folder, "target": "/work"},
            {"type": "volume", "source": "cache", "target": "/cache"},
        ],
        "shm_size": "2gb",  # a limit; what ranks share is the parameters, and 16 MiB a rank for MPI
    }
    check = {"test": ["CMD", "distprop-container", "healthy"], "interval": "2s", "timeout": "20s", "retries": 30}
    worker = {"command": ["worker"], "scale": place.workers, "healthcheck": check}
    head = {
        "command": ["head", *words],
        "environment": {"DISTPROP_WORKERS": str(place.workers), "DISTPROP_SLOTS": str(place.slots)},
        "depends_on": {"worker": {"condition": "service_healthy"}},
        "stop_grace_period": "2m",  # for a checkpoint
    }
    return {
        "services": {"worker": usual | worker, "head": usual | head},
        "secrets": {"distprop_key": {"file": place.key}},
        "volumes": {"cache": {"name": "distprop-cache"}},
    }


def _literal(text: str) -> str:
    return text.replace("$", "$$")
