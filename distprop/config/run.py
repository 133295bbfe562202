"""The whole configuration of a run, as declarations. One field of `Config` is one table of the file."""

from dataclasses import field
from typing import Annotated, Literal, TypeAlias

from distprop.config.data import Data
from distprop.config.declaration import Bounds, Count, NotNegative, Positive, declaration
from distprop.config.layers import Layers
from distprop.config.losses import Loss
from distprop.config.optimizers import Adam, Optimizer
from distprop.config.schedules import Constant, Schedule

DataType: TypeAlias = Literal["float32", "float64"]


@declaration
class Network:
    """The [network] table."""

    layers: Layers
    """The layers, in order; the last one is the output."""
    loss: Loss
    """What training makes small."""


@declaration
class EarlyStopping:
    """Stop when the monitored number has not improved by `min_delta` for `patience` epochs."""

    patience: Count = 10
    """Epochs without improvement before the end."""
    min_delta: NotNegative = 0.0
    """What counts as an improvement."""


@declaration
class Training:
    """The [training] table."""

    epochs: Count | None = None
    """Passes over the training data. With neither epochs nor steps: 10."""
    steps: Count | None = None
    """Minibatches to train for, instead of epochs."""
    batch_size: Count = 128
    """Samples of a minibatch, over all ranks together."""
    shards: Count | None = None
    """Parts that a minibatch is cut into: the most ranks that can work on it. The model depends on it. Not given: the
    largest power of two, at most 16, that leaves 8 samples a shard.
    """
    shuffle: bool = True
    """Go through the samples in another order in each epoch."""
    exchange: Literal["ordered", "allreduce"] = "ordered"
    """How gradients are summed: in a fixed order, with the same bits on any number of ranks; or by MPI_Allreduce, for
    comparison.
    """
    accumulate: Count = 1
    """Compute a minibatch in so many passes, at most one a shard, whose gradients are accumulated before the exchange
    and the update: then the values between layers need less memory. The model doesn't depend on it.
    """
    monitor: Literal["auto", "loss", "validation_loss", "validation_accuracy"] = "auto"
    """The number that decides on the best model, early stopping and the plateau schedule; auto: validation_loss if
    there is validation data, loss otherwise.
    """
    early_stopping: EarlyStopping | None = None
    """Stop when the monitored number no longer improves."""
    top_k: Annotated[int, Bounds(ge=2)] = 5
    """How many of the likeliest classes count as right in the top-k accuracy."""
    log_every: Count = 100
    """Steps between two lines of metrics.jsonl, and between two digests of the parameters, which ranks compare."""
    timeline: Count | None = None
    """Record every call of so many first steps on every rank, as a Chrome trace: timeline.json. They run slower."""


@declaration
class Checkpoint:
    """The [checkpoint] table."""

    every_seconds: Literal["auto"] | NotNegative = "auto"
    """At most this much time between two checkpoints; 0: only at the ends of epochs. auto: 100 times as long as the
    last one took, so that checkpoints cost at most 1 % of the time, but at least 30 seconds and at most an hour.
    """
    every_steps: Count | None = None
    """Also after every so many steps."""
    keep: Annotated[int, Bounds(ge=2)] = 2
    """How many good checkpoints are kept: one before the newest must be there if that is damaged."""
    on_error: Literal["continue", "stop"] = "continue"
    """What follows if a checkpoint can't be written, as on a full disk: training goes on, with a warning, and tries
    again later; or it stops. The last one must be written in any case.
    """


@declaration
class Launch:
    """The [launch] table: where ranks run, and when they are started again. Nothing in it changes the model."""

    ranks: Count | None = None
    """How many ranks train. Not given: as many as there are cores, up to shards."""
    hosts: str | None = None
    """Hosts and their ranks, as in a:2,b:2."""
    hostfile: str | None = None
    """File with a host on each line, as mpirun takes it."""
    interface: str | None = None
    """Network interfaces for messages between hosts, as in eth0 or eth0,eth1. Not given: all but loopback and those of
    containers and virtual machines, such as docker0.
    """
    max_restarts: Annotated[int, Bounds(ge=0)] = 3
    """How often ranks that have died or hung are started again, from the newest checkpoint, without a new checkpoint in
    between.
    """
    min_ranks: Count = 1
    """Hosts that no longer answer are left out when ranks are started again, as long as there is room for so many."""
    silence_seconds: Positive = 10.0
    """A rank of which nothing is heard for so long hangs; each tells once a second where it is."""
    start_seconds: Positive = 120.0
    """All ranks must have been heard of within this time."""
    compile_seconds: Positive = 600.0
    """The longest time that compiling, and the first step, may take."""
    step_seconds: Positive = 60.0
    """The longest time that a step may take; a longer one, 10 times as long as the longest before, may take it too."""
    save_seconds: Positive = 600.0
    """The longest time that writing or reading a checkpoint may take."""


@declaration
class Config:
    """Everything that the trained model depends on, and where and how it is trained."""

    data: Data
    """Where the data are and how they become arrays."""
    network: Network
    """Layers and loss."""
    optimizer: Optimizer = field(default_factory=Adam)
    """How parameters follow their gradients."""
    schedule: Schedule = field(default_factory=Constant)
    """How the learning rate changes."""
    training: Training = field(default_factory=Training)
    """How long and how training goes."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """When the state of a run is saved."""
    launch: Launch = field(default_factory=Launch)
    """Where ranks run, and when they are started again. Nothing in it changes the model."""
    seed: Annotated[int, Bounds(ge=0, lt=2**63)] = 0
    """Key of all random numbers: initial weights, order of samples, dropout, split."""
    dtype: DataType = "float32"
    """Number format of parameters and features."""
