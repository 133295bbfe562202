"""scikit-learn's turn in steps.py: python steps_sklearn.py FOLDER

An epoch is one call of MLPClassifier.partial_fit with all samples, which it shuffles itself. For two classes it trains
one logistic output instead of a softmax over two, so its losses can be compared for three classes and more only.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier
from steps_task import BETA1, BETA2, EPSILON, MOMENTUM, load_start, load_task, take_turn


def turn(folder: Path) -> str:
    task = load_task(folder)
    start = load_start(folder, task)
    x, y = task.data()
    solver = {"momentum": "sgd", "adam": "adam"}[task.optimizer]
    model = MLPClassifier(
        task.sizes[1:-1], solver=solver, alpha=0.0, batch_size=task.batch, learning_rate_init=task.rate,
        momentum=MOMENTUM, nesterovs_momentum=False, beta_1=BETA1, beta_2=BETA2, epsilon=EPSILON, shuffle=False,
    )  # fmt: skip
    model.partial_fit(x[: task.batch], y[: task.batch], classes=np.arange(task.sizes[-1]))  # makes its arrays
    if task.sizes[-1] > 2:
        for array, value in zip(model.coefs_ + model.intercepts_, start.params[::2] + start.params[1::2], strict=True):
            array[...] = value
    del model._optimizer  # the next call makes a new one, as if no step had been

    def train(rows: np.ndarray) -> list[float]:
        if len(rows) * task.batch < task.samples:  # the first steps
            return [float(model.partial_fit(x[some], y[some]).loss_) for some in rows]
        model.set_params(shuffle=True)
        model.partial_fit(x, y)
        return []

    result = take_turn(task, start, train)
    assert model.coefs_[0].dtype == np.float32
    return result


print(turn(Path(sys.argv[1])))
