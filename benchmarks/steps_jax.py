"""JAX's part in steps.py: python steps_jax.py step|scan FOLDER CONVERSATION

step: one jitted function a step, called from Python. scan: a whole epoch as one jitted `lax.scan`. In both, minibatches
are gathered inside the compiled function, and the old parameters' memory is handed on to the new ones.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from conversation import Conversation
from steps_task import BETA1, BETA2, EPSILON, MOMENTUM, load_start, load_task, take_turns


def loss_of(params, x, y):
    for number, (w, b) in enumerate(params):
        x = (jax.nn.relu(x) if number else x) @ w + b
    return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1).mean()


def momentum_update(params, state, grads, rate):
    v = jax.tree.map(lambda v, g: MOMENTUM * v + g, state, grads)
    return jax.tree.map(lambda w, v: w - rate * v, params, v), v


def adam_update(params, state, grads, rate):
    t, m, v = state
    t = t + 1
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
    scale, root = rate / (1 - BETA1**t), jax.lax.rsqrt(1 - BETA2**t)
    return jax.tree.map(lambda w, m, v: w - scale * m / (jnp.sqrt(v) * root + EPSILON), params, m, v), (t, m, v)


def main(form: str, folder: Path, conversation: Path) -> None:
    talk, task = Conversation(conversation), load_task(folder)
    start = load_start(folder, task)
    x, y = (jnp.asarray(array) for array in task.data())
    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in zip(start.params[::2], start.params[1::2], strict=True)]
    zeros = partial(jax.tree.map, jnp.zeros_like)
    update = {"momentum": momentum_update, "adam": adam_update}[task.optimizer]
    slots = {"momentum": lambda: zeros(params), "adam": lambda: (jnp.float32(0), zeros(params), zeros(params))}
    state = [(params, slots[task.optimizer]())]

    def step(state, x, y, rows):
        loss, grads = jax.value_and_grad(loss_of)(state[0], x[rows], y[rows])
        return update(*state, grads, task.rate), loss

    jitted_step = jax.jit(step, donate_argnums=0)
    jitted_epoch = jax.jit(
        lambda state, x, y, rows: jax.lax.scan(lambda state, some: step(state, x, y, some), state, rows),
        donate_argnums=0,
    )

    def by_steps(rows: np.ndarray) -> list[float]:
        losses = []
        for some in rows.astype(np.int32):
            state[0], loss = jitted_step(state[0], x, y, some)
            losses.append(loss)
        return np.array(jax.block_until_ready(losses)).tolist()

    def by_scan(rows: np.ndarray) -> list[float]:
        state[0], losses = jitted_epoch(state[0], x, y, rows.astype(np.int32))
        return np.asarray(losses).tolist()

    take_turns(task, talk, start, by_steps if form == "step" else by_scan)


main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
