"""exp, log, tanh, erf and their kin for scalars of float32 and float64: no libm, no branches, the same bits on every CPU.

Each function is written once; a table of constants for each type makes the two versions. They contain only additions,
products, divisions, fused multiply-adds, comparisons and bit operations, so a loop over them becomes vector code.
The polynomials are minimax approximations, computed by benchmarks/polynomials.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from distprop.kernels.floats import fma


class Constants(NamedTuple):
    """What differs between the two types; `p_f` are the coefficients of the polynomial in `f`, from the constant upwards."""

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


def _constants(number: Callable[[float], Any], **values: Any) -> Constants:
    same = {
        "log2_e": 1.4426950408889634,
        "half": 0.5,
        "one": 1.0,
        "two": 2.0,
        "zero": 0.0,
        "infinity": np.inf,
        "nan": np.nan,
    }
    given = same | {"tanh_small": 0.55} | values
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


def generic(make: Callable[[Constants], Callable[..., Any]]) -> Callable[..., Any]:
    """The function that `make` writes for a table of constants, callable from kernels with float32 or float64 numbers."""
    single, double = make(SINGLE), make(DOUBLE)

    def function(x: Any) -> Any:
        raise TypeError("an elementary function is only callable from a kernel")

    function.__name__ = make.__name__

    @overload(function, jit_options={"fastmath": False, "error_model": "numpy", "forceinline": True})
    def choose(x):
        return {types.float32: single, types.float64: double}.get(x)

    return function


def _llvm(builder: Any, name: str, arguments: list[Any]) -> Any:
    """Call the LLVM intrinsic `name` for arguments of one floating-point type."""
    kind = arguments[0].type
    signature = ir.FunctionType(kind, [kind] * len(arguments))
    width = 32 if kind == ir.FloatType() else 64
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.f{width}"), arguments)


def _integers(kind: Any) -> tuple[Any, int, int, int]:
    """The integer type of a float's bits, its number of fraction bits, the bits of sqrt(1/2), and its width."""
    if kind == ir.FloatType():
        return ir.IntType(32), 23, 0x3F3504F3, 32
    return ir.IntType(64), 52, 0x3FE6A09E667F3BCD, 64


@intrinsic
def polynomial(typing_context, x, coefficients):
    """c_0 + c_1 x + c_2 x^2 + ... by Horner's rule, each step one fused multiply-add."""

    def generate(context, builder, signature, arguments):
        x, coefficients = arguments
        *rest, result = cgutils.unpack_tuple(builder, coefficients)
        for coefficient in reversed(rest):
            result = _llvm(builder, "fma", [result, x, coefficient])
        return result

    return x(x, coefficients), generate


@intrinsic
def copysign(typing_context, magnitude, sign):
    """|magnitude| with the sign of `sign`, which may be a zero's."""

    def generate(context, builder, signature, arguments):
        return _llvm(builder, "copysign", list(arguments))

    return magnitude(magnitude, sign), generate


@intrinsic
def power_of_two(typing_context, biased):
    """2^n from n + Constants.biased, for n from -126 to 127 (float32) or -1022 to 1023 (float64)."""

    def generate(context, builder, signature, arguments):
        (biased,) = arguments
        integer, fraction, _, _ = _integers(biased.type)
        return builder.bitcast(builder.shl(builder.bitcast(biased, integer), integer(fraction)), biased.type)

    return biased(biased), generate


@intrinsic
def split(typing_context, x):
    """(k, m) with x = 2^k m and m in [sqrt(1/2), sqrt(2)), for a positive normal number x."""

    def generate(context, builder, signature, arguments):
        (x,) = arguments
        integer, fraction, root_half, _ = _integers(x.type)
        bits = builder.bitcast(x, integer)
        exponent = builder.ashr(builder.sub(bits, integer(root_half)), integer(fraction))
        mantissa = builder.sub(bits, builder.shl(exponent, integer(fraction)))
        return cgutils.pack_array(builder, [builder.sitofp(exponent, x.type), builder.bitcast(mantissa, x.type)])

    return types.UniTuple(x, 2)(x), generate


@generic
def _reduce(c):
    def _reduce(x):
        """n and e^r - 1 with x = n ln(2) + r, |r| <= ln(2) / 2."""
        n = fma(x, c.log2_e, c.magic) - c.magic
        r = fma(n, -c.ln2_low, fma(n, -c.ln2_high, x))
        return n, fma(r * r, polynomial(r, c.p_exp), r)

    return _reduce


@generic
def exp(c):
    def exp(x):
        """e^x. The power of two comes in two factors, so that a subnormal result is rounded once."""
        x = c.exp_low if x < c.exp_low else x
        x = c.exp_high if x > c.exp_high else x
        n, p = _reduce(x)
        first = fma(n, c.half, c.biased)
        second = n - (first - c.biased) + c.biased
        return (p + c.one) * power_of_two(first) * power_of_two(second)

    return exp


@generic
def _normal_exp(c):
    def _normal_exp(x):
        """e^x where the result is neither subnormal nor infinite."""
        n, p = _reduce(x)
        return (p + c.one) * power_of_two(n + c.biased)

    return _normal_exp


@generic
def expm1(c):
    def expm1(x):
        """e^x - 1 = 2 (p 2^(n-1) + 2^(n-1) - 1/2), where p = e^r - 1; halved so that 2^n can't overflow before the sum."""
        bounded = c.expm1_low if x < c.expm1_low else x
        bounded = c.exp_high if bounded > c.exp_high else bounded
        n, p = _reduce(bounded)
        scale = power_of_two(n - c.one + c.biased)
        result = fma(p, scale, scale - c.half) * c.two
        return x if abs(x) < c.expm1_small else result

    return expm1


@generic
def _log_terms(c):
    def _log_terms(x):
        """(h, t) with log(1 + x) = x - (h - t), h = x^2 / 2, t = s (h + R(s^2)): it is 2 atanh(s) for s = x / (2 + x)."""
        s = x / (c.two + x)
        z = s * s
        h = c.half * x * x
        return h, s * fma(z, polynomial(z, c.p_log), h)

    return _log_terms


@generic
def log(c):
    def log(x):
        """Natural logarithm; -infinity at zero, NaN below."""
        subnormal = x < c.tiny
        k, m = split(x * c.subnormal_scale if subnormal else x)
        k = k - c.subnormal_shift if subnormal else k
        f = m - c.one
        h, t = _log_terms(f)
        result = fma(k, c.ln2_high, f - (h - fma(k, c.ln2_low, t)))
        result = result if x < c.infinity else x
        result = -c.infinity if x == c.zero else result
        return c.nan if x < c.zero else result

    return log


@generic
def log1p(c):
    def log1p(x):
        """log(1 + x): the logarithm of u = 1 + x rounded, plus what the rounding lost, divided by u."""
        u = c.one + x
        d = u - c.one
        lost = (c.one - (u - d)) + (x - d)
        k, m = split(u)
        f = fma(lost, m / u, m - c.one)
        h, t = _log_terms(f)
        result = fma(k, c.ln2_high, f - (h - fma(k, c.ln2_low, t)))
        result = result if x < c.infinity else x
        result = -c.infinity if u == c.zero else result
        result = c.nan if u < c.zero else result
        return x if x == c.zero else result  # keeps the sign of zero

    return log1p


@generic
def tanh(c):
    def tanh(x):
        """x + x^3 P(x^2) near zero, else 1 - 2 / (e^2|x| + 1) with the sign of x."""
        a = abs(x)
        bounded = c.tanh_high if a > c.tanh_high else a
        z = bounded * bounded
        near = fma(bounded * z, polynomial(z, c.p_tanh), bounded)
        far = c.one - c.two / (_normal_exp(bounded + bounded) + c.one)
        return copysign(near if a < c.tanh_small else far, x)

    return tanh


@generic
def erf(c):
    def erf(x):
        """x + x P(x^2) up to 1, else 1 - e^Q(|x|) with the sign of x."""
        a = abs(x)
        bounded = c.erf_high if a > c.erf_high else a
        near = fma(bounded, polynomial(bounded * bounded, c.p_erf), bounded)
        far = c.one - _normal_exp(polynomial(bounded, c.p_log_erfc))
        return copysign(near if a < c.one else far, x)

    return erf


@generic
def sigmoid(c):
    def sigmoid(x):
        """1 / (1 + e^-x), as e^x / (1 + e^x) below zero so that small results keep their digits."""
        e = exp(-abs(x))
        return (c.one if x >= c.zero else e) / (c.one + e)

    return sigmoid


@generic
def softplus(c):
    def softplus(x):
        """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
        return (x if x > c.zero else c.zero) + log1p(exp(-abs(x)))

    return softplus
