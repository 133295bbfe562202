"""A configuration with every default written out, its file, and its digest."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from distprop.config.data import Arrays, Data, Source
from distprop.config.defaults import default_shards, has_validation, named_layers, target_kind
from distprop.config.layers import Activation, Dense, Layer
from distprop.config.rules import check_rules
from distprop.config.run import Config, Launch, Network, Training
from distprop.files import written_whole

DEFAULT_EPOCHS = 10
_RELU_FAMILY = ("relu", "leaky_relu", "elu", "softplus", "gelu", "silu")


def resolve(config: Config, base: Path) -> Config:
    """The same configuration with nothing left to a default; relative paths start at the folder `base`.

    Resolving twice changes nothing, so what a run directory holds is read back as it was.
    ConfigError if values don't fit together.
    """
    check_rules(config)
    return replace(
        config,
        data=_resolve_data(config, base),
        network=_resolve_network(config.network),
        training=_resolve_training(config),
        launch=_resolve_launch(config.launch, base),
    )


def to_toml(config: Config) -> str:
    """The text of a configuration file; keys without a value are left out."""
    return tomli_w.dumps(_tree(config))


def write_config(config: Config, path: Path) -> None:
    """Write `config` as TOML that `load_config` reads back as an equal configuration.

    The file appears whole or not at all.
    """
    with written_whole(path) as temporary:
        temporary.write_bytes(to_toml(config).encode())


def config_digest(config: Config) -> str:
    """SHA-256 (hexadecimal) of all that the trained model depends on besides the data.

    What the model doesn't depend on doesn't count: where ranks run, when checkpoints are written, where data files lie.
    """
    tree = _tree(resolve(config, Path("/")))
    for table in ("launch", "checkpoint"):
        del tree[table]
    for key in ("log_every", "timeline", "accumulate"):
        tree["training"].pop(key, None)
    tree["data"] |= {key: _without_paths(tree["data"].get(key)) for key in ("train", "validation")}
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _resolve_data(config: Config, base: Path) -> Data:
    data = config.data
    return replace(
        data,
        train=_absolute_source(data.train, base),
        validation=None if data.validation is None else _absolute_source(data.validation, base),
        target_kind=target_kind(data, config.network.loss),
    )


def _absolute_source(source: Source, base: Path) -> Source:
    if isinstance(source, str):
        return _absolute(source, base)
    return Arrays(
        features=_absolute(source.features, base),
        targets=_absolute(source.targets, base),
        weights=None if source.weights is None else _absolute(source.weights, base),
    )


def _absolute(path: str, base: Path) -> str:
    full = os.path.join(base, os.path.expanduser(path))  # noqa: PTH111, PTH118 (Path raises for odd names, these don't)
    return os.path.abspath(full)  # noqa: PTH100 (not resolve(): links keep the names that the user gave)


def _resolve_network(network: Network) -> Network:
    return replace(network, layers=resolve_layers(network.layers))


def resolve_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Layers with names, inputs and initializers written out."""
    named = named_layers(layers)
    return tuple(_initialised(layer, named) for layer in named)


def _initialised(layer: Layer, layers: Sequence[Layer]) -> Layer:
    if not isinstance(layer, Dense) or layer.initializer is not None:
        return layer
    functions = {layer.activation}
    if layer.activation == "identity":  # a dense layer and its activation may be two layers of the file
        functions = {other.function for other in layers if isinstance(other, Activation) and layer.name in other.inputs}
    return replace(layer, initializer="he_uniform" if functions & set(_RELU_FAMILY) else "glorot_uniform")


def _resolve_training(config: Config) -> Training:
    training = config.training
    epochs = training.epochs
    if epochs is None and training.steps is None:
        epochs = DEFAULT_EPOCHS
    monitor = training.monitor
    if monitor == "auto":
        monitor = "validation_loss" if has_validation(config.data) else "loss"
    shards = training.shards or default_shards(training.batch_size)
    return replace(training, epochs=epochs, monitor=monitor, shards=shards)


def _resolve_launch(launch: Launch, base: Path) -> Launch:
    return replace(launch, hostfile=None if launch.hostfile is None else _absolute(launch.hostfile, base))


def _tree(config: Config) -> dict[str, Any]:
    assert is_dataclass(config)
    tree = _without_none(asdict(config))
    assert isinstance(tree, dict)
    return tree


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value


def _without_paths(source: str | dict[str, str] | None) -> list[str]:
    """Which arrays there are, but not where."""
    return sorted(source) if isinstance(source, dict) else [] if source is None else ["table"]
