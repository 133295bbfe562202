"""Fused multiply-add and the bits of a floating-point number, as scalar operations that LLVM can vectorise."""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

INTEGERS = {types.float32: types.int32, types.float64: types.int64}
FLOATS = {integer: number for number, integer in INTEGERS.items()}


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c, rounded once; three numbers of one type."""

    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        name = "llvm.fma.f32" if kind == ir.FloatType() else "llvm.fma.f64"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, arguments)

    return (a(a, a, a), generate) if a == b == c else None


@intrinsic
def float_bits(typing_context, x):
    """The bits of a float32 as int32, of a float64 as int64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return INTEGERS[x](x), generate


@intrinsic
def bits_float(typing_context, bits):
    """The float32 with the bits of an int32, the float64 with the bits of an int64."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return FLOATS[bits](bits), generate
