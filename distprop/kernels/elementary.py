"""exp, log, tanh, erf and their kin for scalars of float32 and float64: no libm, the same bits on every CPU.

Each function is written once; a table of constants for each type makes the two versions. They contain only additions,
products, divisions, fused multiply-adds, comparisons and bit operations, so a loop over them becomes vector code.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from distprop.kernels.constants import DOUBLE, SINGLE, Constants
from distprop.kernels.floats import fma


def generic(make: Callable[[Constants], Callable[..., Any]]) -> Callable[..., Any]:
    """The function that `make` writes for a table of constants, for kernels to call with float32 or float64."""
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
        """e^x - 1 = 2 (p 2^(n-1) + 2^(n-1) - 1/2), p = e^r - 1: halved because 2^n may overflow where e^x doesn't."""
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
        """(h, t) with log(1 + x) = x - (h - t): h = x^2 / 2, t = s (h + R(s^2)), from 2 atanh(s), s = x / (2 + x)."""
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
        """1 / (1 + e^-x), as e^x / (1 + e^x) below zero so that small results keep their digits.

        The quotient is corrected by its remainder and by what the rounding of 1 + e lost.
        """
        e = exp(-abs(x))
        numerator = c.one if x >= c.zero else e
        d = c.one + e
        inverse = c.one / d
        quotient = numerator * inverse
        remainder = fma(-quotient, d, numerator) - quotient * (e - (d - c.one))
        return fma(remainder, inverse, quotient)

    return sigmoid


@generic
def softplus(c):
    def softplus(x):
        """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
        return (x if x > c.zero else c.zero) + log1p(exp(-abs(x)))

    return softplus
