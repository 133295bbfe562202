"""Computes the polynomials of distprop/kernels/constants.py: minimax approximations, by Remez's algorithm in 60 digits.

Run: python benchmarks/polynomials.py
Prints each polynomial with the largest weighted error that it has before its coefficients are rounded.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from mpmath import cos, erf, erfc, expm1, log, lu_solve, matrix, mp, mpf, nstr, pi, polyval, sqrt, tanh

mp.dps = 60
Function = Callable[[mpf], mpf]


class Target(NamedTuple):
    """A function to approximate from `low` to `high`, and how much an error at x matters."""

    function: Function
    low: mpf
    high: mpf
    weight: Function
    single: int  # number of coefficients for float32
    double: int


def exp_rest(r: mpf) -> mpf:
    """(e^r - 1 - r) / r^2."""
    return (expm1(r) - r) / r**2 if abs(r) > 1e-12 else mpf(1) / 2 + r / 6


def log_rest(z: mpf) -> mpf:
    """(2 atanh(s) - 2 s) / s^3 at s = sqrt(z)."""
    s = sqrt(z)
    return (log((1 + s) / (1 - s)) - 2 * s) / (s * z) if z > 1e-18 else mpf(2) / 3 + mpf(2) / 5 * z


def tanh_rest(z: mpf) -> mpf:
    """(tanh(x) - x) / x^3 at x = sqrt(z)."""
    x = sqrt(z)
    return (tanh(x) - x) / (x * z) if z > 1e-18 else -mpf(1) / 3 + 2 * z / 15


def erf_rest(z: mpf) -> mpf:
    """erf(x) / x - 1 at x = sqrt(z)."""
    x = sqrt(z)
    return erf(x) / x - 1 if z > 1e-18 else 2 / sqrt(pi) * (1 - z / 3) - 1


def log_erfc(x: mpf) -> mpf:
    return log(erfc(x))


HALF_LN2 = log(mpf(2)) / 2 * mpf("1.0001")  # rounding may lead a little beyond the exact limits
LARGEST_Z = ((sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1)) ** 2 * mpf("1.001")
TARGETS = {
    "p_exp": Target(exp_rest, -HALF_LN2, HALF_LN2, lambda r: abs(r) + mpf("1e-3"), 5, 11),
    "p_log": Target(log_rest, mpf(0), LARGEST_Z, lambda z: z + mpf("1e-5"), 4, 7),
    "p_tanh": Target(tanh_rest, mpf(0), mpf("0.55") ** 2, lambda z: z + mpf("1e-3"), 5, 11),
    "p_erf": Target(erf_rest, mpf(0), mpf(1), lambda z: mpf(1), 7, 13),
    "p_log_erfc (float32)": Target(log_erfc, mpf(1), mpf(4), erfc, 8, 0),
    "p_log_erfc (float64)": Target(log_erfc, mpf(1), mpf(6), erfc, 0, 22),
}


def chebyshev(low: mpf, high: mpf, count: int) -> list[mpf]:
    """Points that lie closer towards both ends."""
    return [(low + high) / 2 - (high - low) / 2 * cos(pi * i / count) for i in range(count + 1)]


def levelled(target: Target, points: list[mpf]) -> list[mpf]:
    """Coefficients whose weighted error is the same at all points, with alternating signs."""
    count = len(points) - 1
    system, values = matrix(count + 1, count + 1), matrix(count + 1, 1)
    for i, x in enumerate(points):
        for j in range(count):
            system[i, j] = x**j
        system[i, count] = (-1) ** i / target.weight(x)
        values[i] = target.function(x)
    return list(lu_solve(system, values))[:count]


def alternating_peaks(errors: list[mpf]) -> list[int]:
    """The index of the largest error of each run of one sign."""
    peaks = [0]
    for i, error in enumerate(errors):
        if (error > 0) != (errors[peaks[-1]] > 0):
            peaks.append(i)
        elif abs(error) > abs(errors[peaks[-1]]):
            peaks[-1] = i
    return peaks


def remez(target: Target, count: int) -> tuple[list[mpf], mpf]:
    """The best polynomial with `count` coefficients, and its largest weighted error."""
    points, grid = chebyshev(target.low, target.high, count), chebyshev(target.low, target.high, 24 * (count + 1))
    for _ in range(6):
        coefficients = levelled(target, points)
        errors = [(target.function(x) - polyval(coefficients[::-1], x)) * target.weight(x) for x in grid]
        peaks = alternating_peaks(errors)
        if len(peaks) < count + 1:  # rounding noise of an error that is level already
            break
        while len(peaks) > count + 1:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        points = [grid[i] for i in peaks]
    return coefficients, max(map(abs, errors))


def main() -> None:
    for name, target in TARGETS.items():
        for number, count in ((np.float32, target.single), (np.float64, target.double)):
            if count:
                coefficients, error = remez(target, count)
                print(f"{name} {number.__name__}: error 2^{nstr(log(error, 2), 3)}")
                print("    " + ", ".join(str(number(nstr(value, 25))) for value in coefficients))


if __name__ == "__main__":
    main()
