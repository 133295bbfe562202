"""A barrier of ranks that share memory: each adds 1 to a common count and waits for it to come to a multiple of them.

The count only grows, so nothing has to be set back. A rank that waits long gives its core away, and now and then
returns to its caller, who may find out that the others won't come.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from distprop.kernels.jit import kernel

WAITING = -1  # returned by a kernel that waits: to be called again
SPINS = 500  # looks before the core is given away: some microseconds
# Times that it is given away before the caller is asked: some tens of microseconds, or a second if others take it each
# time.
YIELDS = 200

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def _first(context, builder, kind, array):
    return context.make_array(kind)(context, builder, array).data


@intrinsic
def _add_one(typing_context, count):
    """count[0] += 1, in one piece; what was written before is seen by all who see it. Returns the sum."""

    def generate(context, builder, signature, arguments):
        place = _first(context, builder, signature.args[0], arguments[0])
        before = builder.atomic_rmw("add", place, _INT64(1), "seq_cst")
        return builder.add(before, _INT64(1))

    return types.int64(count), generate


@intrinsic
def _read(typing_context, count):
    """count[0], as it is now; what is read later is at least as new."""

    def generate(context, builder, signature, arguments):
        place = _first(context, builder, signature.args[0], arguments[0])
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(count), generate


@intrinsic
def _give_core_away(typing_context):
    """The operating system's sched_yield."""

    def generate(context, builder, signature, arguments):
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_INT32, []), "sched_yield")
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), generate


@kernel
def wait_for_ranks(count, target, ranks):
    """Return 0 when all `ranks` ranks have called this equally often, or WAITING after some time.

    count (1,) int64: shared by the ranks. target (1,) int64: this rank's; 0 unless it is waiting.
    """
    if target[0] == 0:
        place = _add_one(count)
        target[0] = (place + ranks - 1) // ranks * ranks
    for _ in range(SPINS):
        if _read(count) >= target[0]:
            target[0] = 0
            return 0
    for _ in range(YIELDS):
        if _read(count) >= target[0]:
            target[0] = 0
            return 0
        _give_core_away()
    return WAITING
