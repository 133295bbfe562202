"""Losses and their gradients, row by row.

Shapes: N samples, O outputs or classes: z, dz, targets (N, O); losses, weights, labels (N,). For sample n with loss l:
losses[n] = w_n l and dz[n] = w_n scale dl/dz, where scale is 1 / (total weight of the global minibatch). Class weights
are part of the samples' weights. dz also holds the terms before they are summed: evaluation passes a buffer, too.
Loops over all elements are flat, not row by row, because rows are often shorter than a vector register.
"""

from distprop.kernels.elementary import exp, log, sigmoid, softplus
from distprop.kernels.jit import inlined, kernel
from distprop.kernels.views import flat, row


@kernel
def mean_squared_error(losses, dz, z, targets, weights, scale):
    """l = mean over outputs of e^2, with e = z - t; dl/dz = 2 e / O."""
    d, y, t = flat(dz), flat(z), flat(targets)
    for i in range(d.size):
        d[i] = (y[i] - t[i]) * (y[i] - t[i])
    _weighted_means(losses, dz, weights)
    for i in range(d.size):
        d[i] = (y[i] - t[i]) + (y[i] - t[i])
    _scale_rows(dz, weights, scale)


@kernel
def mean_absolute_error(losses, dz, z, targets, weights, scale):
    """l = mean over outputs of |e|, with e = z - t; dl/dz = sign(e) / O, 0 where e is 0."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    d, y, t = flat(dz), flat(z), flat(targets)
    for i in range(d.size):
        d[i] = abs(y[i] - t[i])
    _weighted_means(losses, dz, weights)
    for i in range(d.size):
        error = y[i] - t[i]
        d[i] = one if error > zero else -one if error < zero else error  # the last is zero, or NaN for NaN
    _scale_rows(dz, weights, scale)


@kernel
def huber(losses, dz, z, targets, weights, scale, delta):
    """l = mean over outputs of e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2); dl/dz = clipped e / O."""
    half, limit = z.dtype.type(0.5), z.dtype.type(delta)
    d, y, t = flat(dz), flat(z), flat(targets)
    for i in range(d.size):
        error = abs(y[i] - t[i])
        d[i] = limit * (error - half * limit) if error > limit else half * error * error
    _weighted_means(losses, dz, weights)
    for i in range(d.size):
        error = y[i] - t[i]
        error = limit if error > limit else error
        d[i] = -limit if error < -limit else error
    _scale_rows(dz, weights, scale)


@kernel
def binary_cross_entropy(losses, dz, z, targets, weights, scale):
    """l = mean over outputs of softplus(z) - t z, from logits z; dl/dz = (sigmoid(z) - t) / O."""
    zero = z.dtype.type(0)
    d, y, t = flat(dz), flat(z), flat(targets)
    for i in range(d.size):  # softplus(z) = max(z, 0) + softplus(-|z|): large terms cancel before the small one comes
        d[i] = ((y[i] if y[i] > zero else zero) - t[i] * y[i]) + softplus(-abs(y[i]))
    _weighted_means(losses, dz, weights)
    for i in range(d.size):
        d[i] = sigmoid(y[i]) - t[i]
    _scale_rows(dz, weights, scale)


@kernel
def softmax_cross_entropy(losses, dz, z, labels, weights, scale, label_smoothing, totals):
    """l = logsumexp(z) - sum_c q_c z_c, q = (1 - s) one_hot(label) + s / classes; dl/dz = softmax(z) - q.

    z is taken relative to its row's maximum. labels (N,) int32 in [0, classes); totals (N,) is overwritten.
    """
    smoothing, one = z.dtype.type(label_smoothing), z.dtype.type(1)
    off = smoothing / z.dtype.type(z.shape[1])
    on = one - smoothing + off
    _subtract_maxima(dz, z)
    for n in range(z.shape[0]):
        losses[n] = _expected(row(dz, n), labels[n], smoothing)
    _exponentials(dz)
    for n in range(z.shape[0]):
        totals[n] = _sum(row(dz, n))
    for n in range(z.shape[0]):  # by itself, so that it becomes vector code
        losses[n] = weights[n] * (log(totals[n]) - losses[n])
    for n in range(z.shape[0]):
        e, label = row(dz, n), labels[n]
        inverse, factor = one / totals[n], weights[n] * scale
        at_label = factor * (e[label] * inverse - on)
        for c in range(e.size):
            e[c] = factor * (e[c] * inverse - off)
        e[label] = at_label


@kernel
def softmax_rows(p, z):
    """p (N, C) = softmax of each row of logits z."""
    _subtract_maxima(p, z)
    _exponentials(p)
    for n in range(z.shape[0]):
        inverse = z.dtype.type(1) / _sum(row(p, n))
        for c in range(z.shape[1]):
            p[n, c] *= inverse


@inlined
def _subtract_maxima(shifted, z):
    """shifted = z - maximum of its row."""
    for n in range(z.shape[0]):
        maximum = _maximum(row(z, n))
        for c in range(z.shape[1]):
            shifted[n, c] = z[n, c] - maximum


@inlined
def _exponentials(e):
    """e = exp(e)."""
    values = flat(e)
    for i in range(values.size):
        values[i] = exp(values[i])


@inlined
def _expected(z, label, smoothing):
    """sum_c q_c z_c with q = (1 - smoothing) one_hot(label) + smoothing / classes."""
    zero, one = z.dtype.type(0), z.dtype.type(1)
    expected = (one - smoothing) * z[label]
    if smoothing > zero:  # not only for speed: 0 times an infinite logit would be NaN
        expected += smoothing / z.dtype.type(z.size) * _sum(z)
    return expected


@inlined
def _weighted_means(losses, terms, weights):
    """losses[n] = w_n times the mean of row n of the terms."""
    mean = terms.dtype.type(1) / terms.dtype.type(terms.shape[1])
    for n in range(losses.size):
        losses[n] = weights[n] * (_sum(row(terms, n)) * mean)


@inlined
def _scale_rows(dz, weights, scale):
    """dz[n] *= w_n scale / O."""
    mean = dz.dtype.type(1) / dz.dtype.type(dz.shape[1])
    for n in range(dz.shape[0]):
        factor = weights[n] * scale * mean
        for o in range(dz.shape[1]):
            dz[n, o] *= factor


@inlined
def _sum(values):
    """Eight running sums, so that an addition needn't wait for the one before it; their tree; then what is left."""
    a = b = c = d = e = f = g = h = values.dtype.type(0)
    whole = values.size - values.size % 8
    for i in range(0, whole, 8):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        d += values[i + 3]
        e += values[i + 4]
        f += values[i + 5]
        g += values[i + 6]
        h += values[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, values.size):
        total += values[i]
    return total


@inlined
def _larger(a, b):
    return a if a > b else b


@inlined
def _maximum(values):
    """The largest number, in four strands for the same reason. With NaN it may be any number."""
    a = b = c = d = values[0]
    whole = values.size - values.size % 4
    for i in range(0, whole, 4):
        a = _larger(values[i], a)
        b = _larger(values[i + 1], b)
        c = _larger(values[i + 2], c)
        d = _larger(values[i + 3], d)
    for i in range(whole, values.size):
        a = _larger(values[i], a)
    return _larger(_larger(a, b), _larger(c, d))
