"""distprop: train neural networks data-parallel over MPI on CPUs, with the same bits on any number of ranks.

    import distprop as dp

    network = dp.Network([dp.Dense(64, "relu"), dp.Dense(10)], loss=dp.SoftmaxCrossEntropy())
    result = dp.train(network, dp.Dataset(x, y), validation=dp.Dataset(x_test, y_test), epochs=20)
    labels = result.model.predict(x_new)
    result.model.save("model.safetensors")

Names are imported when they are first used: `import distprop` itself takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distprop.api import Dataset, Model, Result, load, train
    from distprop.config.data import Arrays, Columns, Data
    from distprop.config.layers import Activation, Add, Concatenate, Dense, Dropout, Flatten, Standardise
    from distprop.config.losses import (
        BinaryCrossEntropy,
        Huber,
        MeanAbsoluteError,
        MeanSquaredError,
        SoftmaxCrossEntropy,
    )
    from distprop.config.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop
    from distprop.config.run import Checkpoint, EarlyStopping, Network
    from distprop.config.schedules import Constant, Cosine, Exponential, Plateau, Polynomial, StepDecay
    from distprop.errors import DistpropError

_HOMES = {
    "api": ("Dataset", "Model", "Result", "load", "train"),
    "config.data": ("Arrays", "Columns", "Data"),
    "config.layers": ("Activation", "Add", "Concatenate", "Dense", "Dropout", "Flatten", "Standardise"),
    "config.losses": (
        "BinaryCrossEntropy",
        "Huber",
        "MeanAbsoluteError",
        "MeanSquaredError",
        "SoftmaxCrossEntropy",
    ),
    "config.optimizers": ("SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "RMSprop"),
    "config.run": ("Checkpoint", "EarlyStopping", "Network"),
    "config.schedules": ("Constant", "Cosine", "Exponential", "Plateau", "Polynomial", "StepDecay"),
    "errors": ("DistpropError",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "SGD", "Activation", "AdaGrad", "Adam", "AdamW", "Add", "Arrays", "BinaryCrossEntropy", "Checkpoint", "Columns",
    "Concatenate", "Constant", "Cosine", "Data", "Dataset", "Dense", "DistpropError", "Dropout", "EarlyStopping",
    "Exponential", "Flatten", "Huber", "MeanAbsoluteError", "MeanSquaredError", "Model", "Momentum", "Nesterov",
    "Network", "Plateau", "Polynomial", "RMSprop", "Result", "SoftmaxCrossEntropy", "Standardise", "StepDecay", "load",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'distprop' has no attribute {name!r}")
    return getattr(import_module(f"distprop.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
