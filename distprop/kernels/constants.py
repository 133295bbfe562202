"""The numbers behind the elementary functions, for float32 and for float64: polynomials, limits, magic numbers.

The polynomials are minimax approximations, weighted by the error they cause; benchmarks/polynomials.py computes them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Constants(NamedTuple):
    """What differs between the two types. Polynomials are given by their coefficients, from the constant upwards."""

    magic: Any  # adding and subtracting it rounds to an integer
    biased: Any  # magic + the exponent's bias: the sum's low bits are the exponent field of 2^n
    log2_e: Any
    ln2_high: Any  # short enough for n * ln2_high to be exact
    ln2_low: Any
    half: Any
    one: Any
    two: Any
    zero: Any
    infinity: Any
    nan: Any
    tiny: Any  # the smallest normal number
    subnormal_scale: Any  # 2^subnormal_shift makes every subnormal number normal
    subnormal_shift: Any
    exp_low: Any  # exp is zero below
    exp_high: Any  # exp is infinite from here on
    expm1_low: Any  # expm1 rounds to -1 below
    expm1_small: Any  # |x| below which expm1(x) rounds to x
    tanh_small: Any  # where the polynomial ends
    tanh_high: Any  # tanh rounds to 1 from here on
    erf_high: Any  # erf rounds to 1 from here on
    p_exp: Any  # (e^r - 1 - r) / r^2,                     |r| <= ln(2) / 2
    p_log: Any  # (2 atanh(s) - 2 s) / s^3 in s^2,         |s| <= 0.1716
    p_tanh: Any  # (tanh(x) - x) / x^3 in x^2,             |x| <= 0.55
    p_erf: Any  # erf(x) / x - 1 in x^2,                   |x| <= 1
    p_log_erfc: Any  # log(1 - erf(x)),                    1 <= x <= erf_high


COMMON = {
    "log2_e": 1.4426950408889634,
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "zero": 0.0,
    "infinity": np.inf,
    "nan": np.nan,
    "tanh_small": 0.55,
}


def _constants(number: Callable[[float], Any], **values: Any) -> Constants:
    """All constants as numbers of one type."""
    given = COMMON | values
    return Constants(**{k: tuple(map(number, v)) if isinstance(v, tuple) else number(v) for k, v in given.items()})


SINGLE = _constants(
    np.float32,
    magic=12582912.0,
    biased=12582912.0 + 127,
    ln2_high=0.693145751953125,
    ln2_low=1.4286068203094173e-06,
    tiny=2.0**-126,
    subnormal_scale=2.0**24,
    subnormal_shift=24.0,
    exp_low=-104.0,
    exp_high=88.8,
    expm1_low=-20.0,
    expm1_small=2.0**-30,
    tanh_high=10.0,
    erf_high=4.0,
    p_exp=(0.5, 0.16666543, 0.041666284, 0.008366573, 0.0013946396),
    p_log=(0.6666666, 0.40000334, 0.28537259, 0.2358324),
    p_tanh=(-0.3333332, 0.13332614, -0.053854972, 0.021081809, -0.006287654),
    p_erf=(0.12837917, -0.37612626, 0.112836, -0.026854444, 0.005189535, -0.0008020839, 7.8891106e-05),
    p_log_erfc=(
        0.00018802907,
        -1.1295784,
        -0.63322,
        -0.10841848,
        0.025208196,
        -0.00420454,
        0.00044133211,
        -2.1686501e-05,
    ),
)
DOUBLE = _constants(
    np.float64,
    magic=6755399441055744.0,
    biased=6755399441055744.0 + 1023,
    ln2_high=0.6931471805601177,
    ln2_low=-1.7239444525614835e-13,
    tiny=2.0**-1022,
    subnormal_scale=2.0**54,
    subnormal_shift=54.0,
    exp_low=-746.0,
    exp_high=709.9,
    expm1_low=-40.0,
    expm1_small=2.0**-60,
    tanh_high=20.0,
    erf_high=6.0,
    p_exp=(
        0.5,
        0.16666666666666677,
        0.0416666666666667,
        0.008333333333321648,
        0.0013888888888866776,
        0.00019841269886086067,
        2.4801587360646474e-05,
        2.755724424857727e-06,
        2.755724269311673e-07,
        2.5109023388187852e-08,
        2.092446270681294e-09,
    ),
    p_log=(
        0.6666666666666734,
        0.39999999999413327,
        0.28571428742847454,
        0.222221985130479,
        0.1818356802257129,
        0.15313943103021127,
        0.14797141199679684,
    ),
    p_tanh=(
        -0.33333333333333304,
        0.1333333333332746,
        -0.053968253964173936,
        0.021869488396287558,
        -0.008863232756017768,
        0.003592093467402175,
        -0.0014555514698171225,
        0.0005884778763132781,
        -0.00023346211361406462,
        8.342655876505847e-05,
        -1.95598352473183e-05,
    ),
    p_erf=(
        0.1283791670955126,
        -0.3761263890318375,
        0.11283791670954885,
        -0.02686617064507787,
        0.005223977624828389,
        -0.0008548326981423463,
        0.00012055331132892126,
        -1.4925595770909825e-05,
        1.6461008460771013e-06,
        -1.635039606926364e-07,
        1.466032781931662e-08,
        -1.137495257919263e-09,
        5.960680339728099e-11,
    ),
    p_log_erfc=(
        3.430583469594911e-08,
        -1.128379595904833,
        -0.6366172365097842,
        -0.10278204359118412,
        0.019153277307002232,
        0.00016010740104998504,
        -0.0016204761032132763,
        0.0004967217924151429,
        6.764333724016463e-05,
        -0.00014115462079771667,
        8.125820346252889e-05,
        -3.1611649573584726e-05,
        9.447604180200356e-06,
        -2.2575168871090122e-06,
        4.3640492259315894e-07,
        -6.810346240909114e-08,
        8.475954855990375e-09,
        -8.22585323105352e-10,
        6.000510821624165e-11,
        -3.09406781176585e-12,
        1.0049269386773027e-13,
        -1.5451484749687167e-15,
    ),
)
