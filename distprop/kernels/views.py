"""Parts of arrays as contiguous arrays, without the code that Numba would compile for wrong shapes, and for a copy.

A view counts no references: it must not outlive its array, nor leave the kernel.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def flat(typing_context, array):
    """All elements of a contiguous array, as one of a single axis."""
    line = types.Array(array.dtype, 1, "C", readonly=not array.mutable)

    def generate(context, builder, signature, arguments):
        whole = context.make_array(array)(context, builder, arguments[0])
        return _view(context, builder, line, whole.data, whole.nitems, whole.itemsize)

    return line(array), generate


@intrinsic
def piece(typing_context, array, row, start, size):
    """array[row, start : start + size] of an array with contiguous rows."""
    part = types.Array(array.dtype, 1, "C")

    def generate(context, builder, signature, arguments):
        value, row, start, size = arguments
        whole = context.make_array(array)(context, builder, value)
        row_bytes = builder.extract_value(whole.strides, 0)
        first = builder.gep(cgutils.pointer_add(builder, whole.data, builder.mul(row_bytes, row)), [start])
        return _view(context, builder, part, first, size, whole.itemsize)

    return part(array, types.intp, types.intp, types.intp), generate


@intrinsic
def row(typing_context, array, number):
    """array[number] of a contiguous array of two axes."""
    part = types.Array(array.dtype, 1, "C", readonly=not array.mutable)

    def generate(context, builder, signature, arguments):
        whole = context.make_array(array)(context, builder, arguments[0])
        size = builder.extract_value(whole.shape, 1)
        first = builder.gep(whole.data, [builder.mul(arguments[1], size)])
        return _view(context, builder, part, first, size, whole.itemsize)

    return part(array, types.intp), generate


@intrinsic
def span(typing_context, array, start, size):
    """array[start : start + size] of a contiguous array of one axis."""
    part = types.Array(array.dtype, 1, "C")

    def generate(context, builder, signature, arguments):
        value, start, size = arguments
        whole = context.make_array(array)(context, builder, value)
        return _view(context, builder, part, builder.gep(whole.data, [start]), size, whole.itemsize)

    return part(array, types.intp, types.intp), generate


def _view(context: Any, builder: ir.IRBuilder, kind: Any, first: ir.Value, size: ir.Value, item: ir.Value) -> ir.Value:
    from numba.np import arrayobj  # heavy, and only for compiling

    view = context.make_array(kind)(context, builder)
    arrayobj.populate_array(view, data=first, shape=[size], strides=[item], itemsize=item, meminfo=None)
    return view._getvalue()
