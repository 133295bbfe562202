"""Sums of squares of fixed blocks: the parts of a norm that are the same however the vector is cut into slices."""

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from distprop.kernels.jit import inlined, kernel
from distprop.kernels.vectors import Emitter

BLOCK = 1024  # elements
LANES = 8

_INT, _DOUBLE = ir.IntType(64), ir.DoubleType()
_EIGHT = ir.VectorType(_DOUBLE, LANES)


def _lanes(builder, vector, first, count):
    """Lanes [first, first + count) of a vector."""
    order = ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), order)


def _sum_of_lanes(builder, vector):
    """The halves added to each other until one lane is left."""
    count = vector.type.count
    while count > 1:
        count //= 2
        vector = builder.fadd(_lanes(builder, vector, 0, count), _lanes(builder, vector, count, count))
    return builder.extract_element(vector, ir.IntType(32)(0))


@intrinsic(prefer_literal=True)
def _square_sums(typing_context, sums, k, values, first, eights, blocks):
    """sums[k + b] = sum of squares of values[first + b BLOCK :][: 8 eights] for b < blocks, a literal.

    Eight sums for each, over every eighth element; the others are added to those of lower index: 4 to 0, 2 to 0, ...
    """
    number = blocks.literal_value

    def generate(context, builder, signature, arguments):
        emit = Emitter(builder, ir.DoubleType())
        data = [context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in (0, 2)]
        kind = ir.VectorType(data[1].type.pointee, LANES)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(_EIGHT, [0.0] * LANES)) for _ in range(number)]
        starts = [builder.gep(data[1], [builder.add(arguments[3], _INT(b * BLOCK))]) for b in range(number)]
        with cgutils.for_range(builder, arguments[4]) as loop:
            offset = builder.mul(loop.index, _INT(LANES))
            for start, total in zip(starts, totals, strict=True):
                address = builder.bitcast(builder.gep(start, [offset]), kind.as_pointer())
                eight = builder.load(address, align=data[1].type.pointee.get_abi_size(context.target_data))
                so_far = builder.load(total)
                if kind == _EIGHT:
                    so_far = builder.fadd(so_far, builder.fmul(eight, eight))
                else:  # squares of float32 are exact in float64, so that this has the same bits
                    wide = builder.fpext(eight, _EIGHT)
                    so_far = emit.fma(wide, wide, so_far)
                builder.store(so_far, total)
        for b, total in enumerate(totals):
            place = builder.gep(data[0], [builder.add(arguments[1], _INT(b))])
            builder.store(_sum_of_lanes(builder, builder.load(total)), place)
        return context.get_dummy_value()

    n = types.intp
    return types.void(sums, n, values, n, n, blocks), generate


@inlined
def _add_rest(sums, k, values, first, last):
    """What is left over after whole eights, one by one."""
    for i in range(first, last):
        sums[k] += np.float64(values[i]) * np.float64(values[i])


@kernel
def block_square_sums(sums, values):
    """sums[k] = sum of squares of values[k * BLOCK : (k + 1) * BLOCK], in float64. NaN and infinity come through.

    values (L,) float; sums (ceil(L / BLOCK),) float64. A slice of a vector that starts at a multiple of BLOCK gives
    the very sums that the whole vector gives for its blocks.
    """
    whole = values.shape[0] // BLOCK
    fours, twos = whole - whole % 4, whole - whole % 2
    for k in range(0, fours, 4):  # at the same time: one alone would wait for each of its additions
        _square_sums(sums, k, values, k * BLOCK, BLOCK // LANES, 4)
    for k in range(fours, twos, 2):
        _square_sums(sums, k, values, k * BLOCK, BLOCK // LANES, 2)
    for k in range(twos, sums.shape[0]):
        size = min(BLOCK, values.shape[0] - k * BLOCK)
        _square_sums(sums, k, values, k * BLOCK, size // LANES, 1)
        _add_rest(sums, k, values, k * BLOCK + size // LANES * LANES, k * BLOCK + size)


@kernel
def ordered_sum(values):
    """The sum of values (L,) float64, one after the other: of the blocks' sums, whoever computed them."""
    total = 0.0
    for value in values:
        total += value
    return total
