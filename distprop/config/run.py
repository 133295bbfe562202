"""The whole configuration of a run, as declarations. One field of `Config` is one table of the file."""

from dataclasses import field
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from distprop.config.data import Data
from distprop.config.declaration import Count, NotNegative, declaration
from distprop.config.layers import Layers
from distprop.config.losses import Loss
from distprop.config.optimizers import Adam, Optimizer
from distprop.config.schedules import Constant, Schedule

DataType: TypeAlias = Literal["float32", "float64"]


@declaration
class Network:
    """The [network] table."""

    layers: Layers
    loss: Loss


@declaration
class EarlyStopping:
    """Stop when the monitored number has not improved by `min_delta` for `patience` epochs."""

    patience: Count = 10
    min_delta: NotNegative = 0.0


@declaration
class Training:
    """The [training] table."""

    epochs: Count | None = None  # with neither epochs nor steps: 10 epochs
    steps: Count | None = None
    batch_size: Count = 128  # of the whole minibatch, over all ranks
    shards: Count | None = None  # None: the largest power of two, at most 16, that leaves 8 samples a shard
    shuffle: bool = True
    exchange: Literal["ordered", "allreduce"] = "ordered"
    monitor: Literal["auto", "loss", "validation_loss", "validation_accuracy"] = (
        "auto"  # for best, early_stopping, plateau
    )
    early_stopping: EarlyStopping | None = None
    top_k: Annotated[int, Field(ge=2)] = 5
    log_every: Count = 100  # steps between two lines of metrics.jsonl


@declaration
class Checkpoint:
    """The [checkpoint] table."""

    every_seconds: NotNegative = 60.0  # at most this much time between two; 0: only at the ends of epochs
    every_steps: Count | None = None  # and, if given, after every so many steps
    keep: Count = 2


@declaration
class Launch:
    """The [launch] table: where ranks run. Nothing in it changes the model."""

    ranks: Count | None = None
    hosts: str | None = None
    hostfile: str | None = None


@declaration
class Config:
    """Everything that the trained model depends on, and where and how it is trained."""

    data: Data
    network: Network
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: Schedule = field(default_factory=Constant)
    training: Training = field(default_factory=Training)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    launch: Launch = field(default_factory=Launch)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    dtype: DataType = "float32"
