"""What a configuration means where it says nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from distprop.config.data import Data
from distprop.config.layers import Layer
from distprop.config.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy

INPUT = "input"  # the name of the network's own input
MAX_DEFAULT_SHARDS = 16
MIN_SAMPLES_A_SHARD = 8


def default_shards(batch_size: int) -> int:
    """The largest power of two, at most 16, that leaves at least 8 samples a shard; at least 1."""
    shards = MAX_DEFAULT_SHARDS
    while shards > 1 and batch_size // shards < MIN_SAMPLES_A_SHARD:
        shards //= 2
    return shards


def named_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Layers with name and inputs written out: dense_1, dense_2, activation_1 ..., each reading the one before it."""
    counts: dict[str, int] = {}
    named: list[Layer] = []
    previous = INPUT
    for layer in layers:
        counts[layer.type] = counts.get(layer.type, 0) + 1
        name = f"{layer.type}_{counts[layer.type]}" if layer.name is None else layer.name
        named.append(replace(layer, name=name, inputs=layer.inputs or (previous,)))
        previous = name
    return tuple(named)


def target_kind(data: Data, loss: Loss) -> Literal["classes", "values"]:
    """What the targets are: as declared, or else classes for a cross-entropy and values for other losses."""
    if data.target_kind is not None:
        return data.target_kind
    return "classes" if isinstance(loss, SoftmaxCrossEntropy | BinaryCrossEntropy) else "values"


def has_validation(data: Data) -> bool:
    return data.validation is not None or data.validation_fraction > 0
