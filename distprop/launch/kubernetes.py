"""The MPIJob of a run, for Kubernetes with the MPI operator (kubeflow.org/v2beta1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distprop.launch.clusters import dns_name, plain_text, yaml_text

KEYS = "/run/distprop-keys"  # where the operator shows the key that it makes for each job
HOSTFILE = "/etc/mpi/hostfile"  # and the workers
USER = 1000  # of the image
ENVIRONMENT = {
    "DISTPROP_KEY": f"{KEYS}/id_rsa",
    "DISTPROP_CACHE": "/work/.distprop-cache",
    "PRTE_MCA_prte_keep_fqdn_hostnames": "1",  # the operator's names of workers are known in full alone
}


@dataclass(frozen=True)
class Pods:
    """Where a run is: `workers` pods with `slots` ranks, a core each, and a claim of a volume that they all share.

    The volume is the folder /work of every pod; the configuration's and the run's paths are seen from there.
    """

    name: str
    image: str
    claim: str
    workers: int
    slots: int
    memory: str = "4Gi"
    restarts: int = 20


def mpi_job(pods: Pods, config: Path, overrides: Sequence[str], run: Path) -> str:
    """The manifest. UsageError for names that Kubernetes can't have."""
    manifest = {
        "apiVersion": "kubeflow.org/v2beta1",
        "kind": "MPIJob",
        "metadata": {"name": dns_name(pods.name, "--name")},
        "spec": {
            "slotsPerWorker": pods.slots,
            "sshAuthMountPath": KEYS,
            "launcherCreationPolicy": "WaitForWorkersReady",
            "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": pods.restarts},
            "mpiReplicaSpecs": {
                "Launcher": _replicas(pods, 1, _launcher(config, overrides, run)),
                "Worker": _replicas(pods, pods.workers, _worker(pods)),
            },
        },
    }
    return plain_text(yaml_text(manifest), "distprop kubernetes")


def _launcher(config: Path, overrides: Sequence[str], run: Path) -> dict[str, Any]:
    settings = [word for override in overrides for word in ("--set", override)]
    command = ["train", str(config), "--run", str(run), "--or-resume", "--hostfile", HOSTFILE, *settings]
    return {
        "args": [_literal(word) for word in command],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "4Gi"}},
    }


def _worker(pods: Pods) -> dict[str, Any]:
    size = {"cpu": str(pods.slots), "memory": pods.memory}
    return {
        "args": ["worker"],
        "resources": {"requests": size, "limits": size},
        "readinessProbe": {
            "exec": {"command": ["distprop-container", "healthy"]},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
        },
    }


def _replicas(pods: Pods, count: int, container: dict[str, Any]) -> dict[str, Any]:
    """Pods of one container each, in which nobody is root."""
    usual = {
        "name": "distprop",
        "image": pods.image,
        "env": [{"name": name, "value": value} for name, value in ENVIRONMENT.items()],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "work", "mountPath": "/work"}, {"name": "memory", "mountPath": "/dev/shm"}],
    }
    return {
        "replicas": count,
        "restartPolicy": "OnFailure",
        "template": {
            "spec": {
                "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
                "terminationGracePeriodSeconds": 120,  # for a checkpoint
                "containers": [usual | container],
                "volumes": [
                    {"name": "work", "persistentVolumeClaim": {"claimName": pods.claim}},
                    {"name": "memory", "emptyDir": {"medium": "Memory"}},
                ],
            }
        },
    }


def _literal(word: str) -> str:
    """Kubernetes replaces $(NAME) in arguments; $$ is a dollar."""
    return word.replace("$(", "$$(")
