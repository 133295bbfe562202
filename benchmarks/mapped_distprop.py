"""A side of mapped.py: python mapped_distprop.py mapped|memory DTYPE NETWORK BATCH FOLDER CONVERSATION"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from conversation import Conversation
from engine import train_in_turns

from distprop.comm.serial import Serial
from distprop.config import resolve
from distprop.config.data import Arrays, Data
from distprop.config.layers import Dense, Standardise
from distprop.config.losses import SoftmaxCrossEntropy
from distprop.config.optimizers import Adam
from distprop.config.run import Config, Network, Training
from distprop.data.dataset import Dataset
from distprop.data.prepare import prepare
from distprop.training.run import Material

FEATURES, SEED = 784, 0


def paths(folder: Path, dtype: str) -> tuple[Path, Path]:
    """The files of features and labels."""
    return folder / f"features-{dtype}.npy", folder / f"labels-{dtype}.npy"


def data_of(folder: Path, dtype: str) -> Data:
    features, labels = paths(folder, dtype)
    return Data(Arrays(str(features), str(labels)), target_kind="classes")


def material(folder: Path, dtype: str, mapped: bool) -> Material:
    """The prepared files, or what is in them, as arrays in memory."""
    prepared = prepare(data_of(folder, dtype), SEED, "float32", folder / "cache")
    dataset = Dataset.open(prepared.training)
    if not mapped:
        dataset = replace(dataset, features=np.array(dataset.features), labels=np.array(dataset.labels))
    return Material(dataset, None, prepared.encoding, prepared.digest)


def main(store: str, dtype: str, network: str, batch: int, folder: Path, conversation: Path) -> None:
    talk = Conversation(conversation)
    _, *hidden, last = map(int, network.split("-"))
    layers = (Standardise(per="array"), *(Dense(units, "relu") for units in hidden), Dense(last))
    config = Config(
        data=data_of(folder, dtype),
        network=Network(layers, SoftmaxCrossEntropy()),
        optimizer=Adam(),
        training=Training(epochs=1_000_000_000, batch_size=batch),
        seed=SEED,
    )
    talk.answer({})
    train_in_turns(resolve(config, folder), material(folder, dtype, store == "mapped"), Serial(), talk)


if __name__ == "__main__":
    store, dtype, network, batch, folder, conversation = sys.argv[1:]
    main(store, dtype, network, int(batch), Path(folder), Path(conversation))
