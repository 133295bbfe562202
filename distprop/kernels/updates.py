"""Optimizers: one step of descent for a slice of the parameters.    Shapes: L elements, K segments.

`regularise`, where a configuration asks for it, changes the gradient and decays the weights. Then the optimizer's own
kernel changes params and its state in place, by the equation in its docstring, from grads; all are (L,). The scalars
have the type of the arrays, so nothing is promoted; products and sums are rounded one by one. Division and square root
are IEEE's, the same on every CPU.

Those that change from step to step are computed in float64, from additions, products, divisions and square roots alone,
then rounded once: see `plain_scalars` and `adam_scalars`.
"""

import numpy as np

from distprop.kernels.jit import inlined, kernel


@kernel
def regularise(grads, params, bounds, is_weight, grad_scale, limit, l1, l2, shrink):
    """g = grad_scale g;  g limited to [-limit, limit];  of weights  g += l1 sign(w) + l2 w;  w -= shrink w.

    The slice is made of K segments, bounds (K + 1,) int64; is_weight (K,) uint8 tells weights (1) from biases (0).
    grad_scale: of clipping by norm, 1 for none; limit: of clipping by value, infinity for none; shrink: learning rate
    times decoupled weight decay.
    """
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, g = params[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            scaled = grad_scale * g[i]
            scaled = limit if scaled > limit else -limit if scaled < -limit else scaled  # NaN stays NaN
            g[i] = scaled + (l1 * on * np.sign(w[i]) + l2 * on * w[i])
            w[i] = w[i] - (shrink * on) * w[i]


@kernel
def sgd_update(params, grads, rate):
    """w -= rate g."""
    for i in range(params.shape[0]):
        params[i] = params[i] - rate * grads[i]


@kernel
def momentum_update(params, velocity, grads, rate, momentum):
    """v = momentum v + g;  w -= rate v."""
    for i in range(params.shape[0]):
        velocity[i] = momentum * velocity[i] + grads[i]
        params[i] = params[i] - rate * velocity[i]


@kernel
def nesterov_update(params, velocity, grads, rate, momentum):
    """v = momentum v + g;  w -= rate (g + momentum v)."""
    for i in range(params.shape[0]):
        velocity[i] = momentum * velocity[i] + grads[i]
        params[i] = params[i] - rate * (grads[i] + momentum * velocity[i])


@kernel
def adagrad_update(params, squares, grads, rate, epsilon):
    """s += g^2;  w -= rate g / (sqrt(s) + epsilon)   (Duchi, Hazan and Singer, 2011)."""
    for i in range(params.shape[0]):
        squares[i] = squares[i] + grads[i] * grads[i]
        params[i] = params[i] - rate * grads[i] / (np.sqrt(squares[i]) + epsilon)


@kernel
def rmsprop_update(params, squares, grads, rate, decay, new, epsilon):
    """s = decay s + new g^2, with new = 1 - decay;  w -= rate g / (sqrt(s) + epsilon)   (Tieleman and Hinton, 2012)."""
    for i in range(params.shape[0]):
        squares[i] = decay * squares[i] + new * (grads[i] * grads[i])
        params[i] = params[i] - rate * grads[i] / (np.sqrt(squares[i]) + epsilon)


@kernel
def adam_update(params, mean, square, grads, rate, beta1, new1, beta2, new2, root, epsilon):
    """m = beta1 m + new1 g;  v = beta2 v + new2 g^2;  w -= rate m / (root sqrt(v) + epsilon)   (Kingma and Ba, 2015).

    new1 = 1 - beta1, new2 = 1 - beta2. The corrections for the start from zero are in the scalars of step t = 1, 2,
    ...: rate = learning rate / (1 - beta1^t) and root = 1 / sqrt(1 - beta2^t).
    """
    for i in range(params.shape[0]):
        mean[i] = beta1 * mean[i] + new1 * grads[i]
        square[i] = beta2 * square[i] + new2 * (grads[i] * grads[i])
        params[i] = params[i] - rate * mean[i] / (root * np.sqrt(square[i]) + epsilon)


@inlined
def _integer_power(base, exponent):
    """base^exponent for exponent >= 0, by squaring, with the same bits everywhere; a C library's pow has its own."""
    power = 1.0
    while exponent > 0:
        if exponent & 1:
            power *= base
        base *= base
        exponent >>= 1
    return power


@inlined
def _clip_scale(norm, clip_norm):
    """What the gradient is multiplied by so that its norm is at most clip_norm."""
    return 1.0 if norm <= clip_norm else clip_norm / norm


@kernel
def plain_scalars(scalars, learning_rate, weight_decay, norm, clip_norm):
    """grad_scale, shrink and rate of a step: scalars[0], [4] and [5]. scalars (6 + ...,) of the parameters' type.

    In all they are grad_scale, limit, l1, l2, shrink, as `regularise` takes them, then the optimizer's own.
    """
    scalars[0] = _clip_scale(norm, clip_norm)
    scalars[4] = learning_rate * weight_decay
    scalars[5] = learning_rate


@kernel
def adam_scalars(scalars, learning_rate, weight_decay, norm, clip_norm, beta1, beta2, step):
    """The same for Adam, and root, scalars[10]; `step` counts from 0."""
    plain_scalars(scalars, learning_rate, weight_decay, norm, clip_norm)
    scalars[5] = learning_rate / (1 - _integer_power(beta1, step + 1))
    scalars[10] = 1 / np.sqrt(1 - _integer_power(beta2, step + 1))
