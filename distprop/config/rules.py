"""Rules between the values of a configuration: each looks at declarations that are right by themselves."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from distprop.config.data import Data
from distprop.config.defaults import default_shards, has_validation, target_kind
from distprop.config.graph_rules import network_problems
from distprop.config.kinds import fields_of
from distprop.config.losses import SoftmaxCrossEntropy
from distprop.config.problems import Problem, json_tree, wrong
from distprop.config.run import Config, Launch, Network, Training
from distprop.config.schedules import Schedule
from distprop.config.sources import columns_problems, file_problems, source_problems
from distprop.config.toml import Tree
from distprop.errors import ConfigError

_HOST = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.]+\])(:[1-9][0-9]{0,5})?")


@dataclass(frozen=True)
class Sound:
    """The tables of a configuration that are right by themselves; None for the others."""

    data: Data | None
    network: Network | None
    schedule: Schedule | None
    training: Training | None
    launch: Launch | None


def sound_tables(config: Config | None, tree: Tree) -> Sound:
    """The tables that rules may be applied to, also when the configuration as a whole is wrong."""
    return Sound(**{item.name: _sound(item.name, config, tree) for item in fields(Sound)})


def _sound(name: str, config: Config | None, tree: Tree) -> Any:
    if config is not None:
        return getattr(config, name)
    kind = fields_of(Config)[name]
    if name not in tree and name not in ("data", "network"):
        return kind() if isinstance(kind, type) else None
    from pydantic import ValidationError

    from distprop.config.adapters import adapter

    try:
        return adapter(kind).validate_json(json.dumps(json_tree(tree.get(name))))
    except ValidationError:
        return None


def check_rules(config: Config) -> None:
    """ConfigError if values of a configuration made in Python don't fit together."""
    problems = list(rule_problems(sound_tables(config, {})))
    if problems:
        raise ConfigError([str(problem) for problem in problems])


def rule_problems(sound: Sound, base: Path | None = None) -> Iterator[Problem]:
    """What doesn't fit together; with a folder `base`, also data files that are not there."""
    if sound.data:
        yield from _validation_problems(sound.data)
        yield from columns_problems(sound.data)
        yield from source_problems(sound.data, base)
    if sound.network:
        yield from network_problems(sound.network)
    if sound.training:
        yield from _training_problems(sound.training)
    if sound.launch:
        yield from _launch_problems(sound.launch, base)
    yield from _rules_between_tables(sound)


def _rules_between_tables(sound: Sound) -> Iterator[Problem]:
    if sound.data and sound.network:
        yield from _target_problems(sound.data, sound.network)
    if sound.data and sound.training:
        yield from _monitor_problems(sound.data, sound.training, sound.network)
    if sound.schedule and sound.training:
        yield from _warmup_problems(sound.schedule, sound.training)
    if sound.launch and sound.training:
        yield from _rank_problems(sound.launch, sound.training)


def _validation_problems(data: Data) -> Iterator[Problem]:
    if data.validation is not None and data.validation_fraction > 0:
        yield Problem(("data", "validation_fraction"), "validation data are given already; drop this key or validation")
    if data.stratify and data.validation_fraction == 0:
        yield Problem(("data", "stratify"), "nothing is split (expected a validation_fraction > 0 with it)")
    if data.stratify and data.target_kind == "values":
        yield Problem(("data", "stratify"), 'needs classes (got target_kind "values", expected "classes")')


def _target_problems(data: Data, network: Network) -> Iterator[Problem]:
    kind = target_kind(data, network.loss)
    if kind == "values" and isinstance(network.loss, SoftmaxCrossEntropy):
        yield Problem(
            ("data", "target_kind"), f'doesn\'t fit the loss "{network.loss.type}" (got "values", expected "classes")'
        )
    elif kind == "values" and network.loss.class_weights is not None:
        text = 'needs classes (got targets that are values, expected target_kind = "classes" under [data])'
        yield Problem(("network", "loss", "class_weights"), text)
    if kind == "values" and data.stratify and data.target_kind is None:
        yield Problem(
            ("data", "stratify"), f'needs classes (got values, the targets of the loss "{network.loss.type}")'
        )
    if kind == "classes" and not isinstance(data.columns.target, str) and len(data.columns.target) > 1:
        text = wrong("class labels are one column", list(data.columns.target), "one name")
        yield Problem(("data", "columns", "target"), text)


def _training_problems(training: Training) -> Iterator[Problem]:
    if training.epochs is not None and training.steps is not None:
        yield Problem(("training", "steps"), "epochs are given already; drop one of the two")
    if training.shards is not None and training.shards > training.batch_size:
        expected = f"at most the batch_size, {training.batch_size}"
        yield Problem(("training", "shards"), wrong("more shards than samples", training.shards, expected))


def _monitor_problems(data: Data, training: Training, network: Network | None) -> Iterator[Problem]:
    path = ("training", "monitor")
    if not training.monitor.startswith("validation"):
        return
    if not has_validation(data):
        text = wrong(
            "there is no validation data", training.monitor, '"loss", or validation or validation_fraction in [data]'
        )
        yield Problem(path, text)
    if training.monitor == "validation_accuracy" and network and target_kind(data, network.loss) == "values":
        yield Problem(path, wrong("targets that are values have no accuracy", training.monitor, '"validation_loss"'))


def _warmup_problems(schedule: Schedule, training: Training) -> Iterator[Problem]:
    if training.epochs is not None and schedule.warmup > training.epochs:
        expected = f"at most the epochs, {training.epochs}"
        yield Problem(("schedule", "warmup"), wrong("longer than the training", schedule.warmup, expected))


def _launch_problems(launch: Launch, base: Path | None) -> Iterator[Problem]:
    if launch.hosts is not None and launch.hostfile is not None:
        yield Problem(("launch", "hostfile"), "hosts are given already; drop one of the two")
    if launch.hosts is not None:
        yield from _host_problems(launch.hosts)
    if launch.hostfile is not None and base is not None:
        yield from file_problems(("launch", "hostfile"), launch.hostfile, base, "a file with a host on each line")


def _host_problems(hosts: str) -> Iterator[Problem]:
    entries = [entry.strip() for entry in hosts.split(",")]
    if not all(_HOST.fullmatch(entry) for entry in entries):
        yield Problem(
            ("launch", "hosts"), wrong("not a list of hosts", hosts, "name:ranks, with commas between, as a:2,b:2")
        )
        return
    names = Counter(entry if entry.endswith("]") else entry.rpartition(":")[0] or entry for entry in entries)
    for name in (name for name, count in names.items() if count > 1):
        yield Problem(("launch", "hosts"), wrong(f"{name} is there twice", hosts, "each host once"))


def _rank_problems(launch: Launch, training: Training) -> Iterator[Problem]:
    shards = training.shards or default_shards(training.batch_size)
    if launch.ranks is not None and launch.ranks > shards:
        expected = f"at most {shards}, the shards of a minibatch; raise shards under [training] for more"
        yield Problem(("launch", "ranks"), wrong("more ranks than shards", launch.ranks, expected))
