"""Optimizers: one step of descent for a slice of the parameters.    Shapes: L elements, K segments.

Each kernel changes params and the optimizer's state, all (L,), in place, from grads (L,). The slice is made of K
segments, bounds (K + 1,) int64; is_weight (K,) uint8 tells weights (1) from biases (0). First, element by element,

    g = grad_scale * g                             grad_scale: of clipping by norm, 1 for none
    g = limit g to [-limit, limit]                 limit: of clipping by value, infinity for none
    g = g + (l1 sign(w) + l2 w);  w -= shrink w    weights only; shrink = learning rate * decoupled weight decay

and then the optimizer's own equation. The scalars have the type of the arrays, so nothing is promoted; products and
sums are rounded one by one. Division and square root are IEEE's, the same on every CPU.

Those that change from step to step are computed in float64, from additions, products, divisions and square roots alone,
then rounded once: see `plain_scalars` and `adam_scalars`.
"""

import numpy as np

from distprop.kernels.jit import inlined, kernel


@inlined
def _regularised(g, w, grad_scale, limit, l1, l2):
    g = grad_scale * g
    g = limit if g > limit else -limit if g < -limit else g  # NaN stays NaN
    return g + (l1 * np.sign(w) + l2 * w)


@kernel
def sgd_update(params, grads, bounds, is_weight, grad_scale, limit, l1, l2, shrink, rate):
    """w -= rate g."""
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, g = params[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            gradient = _regularised(g[i], w[i], grad_scale, limit, l1 * on, l2 * on)
            w[i] = w[i] - (shrink * on) * w[i] - rate * gradient


@kernel
def momentum_update(params, velocity, grads, bounds, is_weight, grad_scale, limit, l1, l2, shrink, rate, momentum):
    """v = momentum v + g;  w -= rate v."""
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, v, g = params[segment], velocity[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            gradient = _regularised(g[i], w[i], grad_scale, limit, l1 * on, l2 * on)
            v[i] = momentum * v[i] + gradient
            w[i] = w[i] - (shrink * on) * w[i] - rate * v[i]


@kernel
def nesterov_update(params, velocity, grads, bounds, is_weight, grad_scale, limit, l1, l2, shrink, rate, momentum):
    """v = momentum v + g;  w -= rate (g + momentum v)."""
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, v, g = params[segment], velocity[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            gradient = _regularised(g[i], w[i], grad_scale, limit, l1 * on, l2 * on)
            v[i] = momentum * v[i] + gradient
            w[i] = w[i] - (shrink * on) * w[i] - rate * (gradient + momentum * v[i])


@kernel
def adagrad_update(params, squares, grads, bounds, is_weight, grad_scale, limit, l1, l2, shrink, rate, epsilon):
    """s += g^2;  w -= rate g / (sqrt(s) + epsilon)   (Duchi, Hazan and Singer, 2011)."""
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, s, g = params[segment], squares[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            gradient = _regularised(g[i], w[i], grad_scale, limit, l1 * on, l2 * on)
            s[i] = s[i] + gradient * gradient
            w[i] = w[i] - (shrink * on) * w[i] - rate * gradient / (np.sqrt(s[i]) + epsilon)


@kernel
def rmsprop_update(
    params, squares, grads, bounds, is_weight, grad_scale, limit, l1, l2, shrink, rate, decay, new, epsilon
):
    """s = decay s + new g^2, with new = 1 - decay;  w -= rate g / (sqrt(s) + epsilon)   (Tieleman and Hinton, 2012)."""
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, s, g = params[segment], squares[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            gradient = _regularised(g[i], w[i], grad_scale, limit, l1 * on, l2 * on)
            s[i] = decay * s[i] + new * (gradient * gradient)
            w[i] = w[i] - (shrink * on) * w[i] - rate * gradient / (np.sqrt(s[i]) + epsilon)


@kernel
def adam_update(
    params, mean, square, grads, bounds, is_weight, grad_scale, limit, l1, l2, shrink,
    rate, beta1, new1, beta2, new2, root, epsilon,
):  # fmt: skip
    """m = beta1 m + new1 g;  v = beta2 v + new2 g^2;  w -= rate m / (root sqrt(v) + epsilon)   (Kingma and Ba, 2015).

    new1 = 1 - beta1, new2 = 1 - beta2. The corrections for the start from zero are in the scalars of step t = 1, 2,
    ...: rate = learning rate / (1 - beta1^t) and root = 1 / sqrt(1 - beta2^t).
    """
    for k in range(is_weight.shape[0]):
        segment = slice(bounds[k], bounds[k + 1])
        w, m, v, g = params[segment], mean[segment], square[segment], grads[segment]
        on = params.dtype.type(is_weight[k])
        for i in range(w.shape[0]):
            gradient = _regularised(g[i], w[i], grad_scale, limit, l1 * on, l2 * on)
            m[i] = beta1 * m[i] + new1 * gradient
            v[i] = beta2 * v[i] + new2 * (gradient * gradient)
            w[i] = w[i] - (shrink * on) * w[i] - rate * m[i] / (root * np.sqrt(v[i]) + epsilon)


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
    """grad_scale, shrink and rate of a step: scalars[0], [4] and [5]. scalars (5 + ...,) of the parameters' type."""
    scalars[0] = _clip_scale(norm, clip_norm)
    scalars[4] = learning_rate * weight_decay
    scalars[5] = learning_rate


@kernel
def adam_scalars(scalars, learning_rate, weight_decay, norm, clip_norm, beta1, beta2, step):
    """The same for Adam, and root, scalars[10]; `step` counts from 0."""
    plain_scalars(scalars, learning_rate, weight_decay, norm, clip_norm)
    scalars[5] = learning_rate / (1 - _integer_power(beta1, step + 1))
    scalars[10] = 1 / np.sqrt(1 - _integer_power(beta2, step + 1))
