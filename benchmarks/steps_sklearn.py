"""scikit-learn's part in steps.py: python steps_sklearn.py FOLDER CONVERSATION

An epoch is one call of MLPClassifier.partial_fit with all samples, which it shuffles itself. For two classes it trains
one logistic output instead of a softmax over two, so its losses can be compared for three classes and more only.
"""

import sys
from pathlib import Path

import numpy as np
from conversation import Conversation
from sklearn.neural_network import MLPClassifier
from steps_task import BETA1, BETA2, CHECK_MINIBATCHES, EPSILON, MOMENTUM, load_start, load_task, take_turns


def main(folder: Path, conversation: Path) -> None:
    talk, task = Conversation(conversation), load_task(folder)
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
        if len(rows) == CHECK_MINIBATCHES:
            return [float(model.partial_fit(x[some], y[some]).loss_) for some in rows]
        model.set_params(shuffle=True)
        model.partial_fit(x, y)
        return []

    take_turns(task, talk, start, train)
    assert model.coefs_[0].dtype == np.float32


main(Path(sys.argv[1]), Path(sys.argv[2]))
