"""Stores past the caches, into memory that other cores have read.

Before a core can write to a line that another core's cache holds, the line has to be taken away from there: a round
trip through the processor, tenfold as long where the two share no cache, and only a few can be under way. Whole lines
that go to memory wait for nobody.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from distprop.kernels.jit import kernel
from distprop.kernels.norms import BLOCK
from distprop.kernels.vectors import INT, INT32, VECTOR_BYTES, Emitter

LONG = 16 * BLOCK  # elements: fewer are handed over through the caches as quickly


@intrinsic
def _store_lines(typing_context, target, source, first, lines):
    """So many lines of target, from element `first` on, where one begins, = the same of source."""

    def generate(context, builder, signature, arguments):
        pairs = zip(signature.args[:2], arguments[:2], strict=True)
        arrays = [context.make_array(kind)(context, builder, array).data for kind, array in pairs]
        emit = Emitter(builder, arrays[0].type.pointee)
        past_caches = builder.module.add_metadata([INT32(1)])
        with emit.loop(arguments[3]) as line:
            place = builder.add(arguments[2], builder.mul(line, INT(emit.lanes)))
            to, source = (builder.gep(array, [place]) for array in arrays)
            store = builder.store(emit.load(source), builder.bitcast(to, emit.vector.as_pointer()), VECTOR_BYTES)
            store.set_metadata("nontemporal", past_caches)
        fence = ir.FunctionType(ir.VoidType(), [])  # what is stored later is seen later
        builder.call(cgutils.get_or_insert_function(builder.module, fence, "llvm.x86.sse.sfence"), [])
        return context.get_dummy_value()

    return types.void(target, source, types.intp, types.intp), generate


@kernel
def store_past_caches(target, source):
    """target (L,) = source (L,)."""
    lanes = VECTOR_BYTES // source.itemsize
    first = min((-target.ctypes.data % VECTOR_BYTES) // source.itemsize, source.size)
    lines = (source.size - first) // lanes
    _store_lines(target, source, first, lines)
    for i in range(first):
        target[i] = source[i]
    for i in range(first + lines * lanes, source.size):
        target[i] = source[i]
