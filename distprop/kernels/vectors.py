"""Vector instructions, written as LLVM code, and the moves of blocks that the matrix products are made ready with.

A vector has 64 bytes whatever the CPU has: LLVM makes two or more registers of it where they are shorter. So the lane
count is fixed in the source. Arrays are given with the offset of the first element and strides, all in elements.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

BOOL, INT8, INT32, INT = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
POINTER = INT8.as_pointer()
VECTOR_BYTES = 64


def _has_long_registers() -> bool:
    """Whether Numba's target has 32 registers of 64 bytes, or 16 of half that length."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx512f" in features.split(",")


LONG_REGISTERS = _has_long_registers()
REGISTER_BYTES = 64 if LONG_REGISTERS else 32


class Emitter:
    """Writes vector code for one float type into one IR function."""

    def __init__(self, builder: ir.IRBuilder, kind: ir.Type, vector_bytes: int = VECTOR_BYTES) -> None:
        self.builder = builder
        self.kind = kind
        self.bytes = 4 if kind == ir.FloatType() else 8
        self.lanes = vector_bytes // self.bytes
        self.vector = ir.VectorType(kind, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{8 * self.bytes}"

    def at(self, base: ir.Value, *offsets: Any) -> ir.Value:
        """The address of the element that lies this many elements behind base."""
        for offset in offsets:
            offset = INT(offset) if isinstance(offset, int) else offset
            base = self.builder.gep(base, [self.builder.mul(offset, INT(self.bytes))])
        return base

    def row_starts(self, base: ir.Value, stride: ir.Value, rows: int, count: ir.Value) -> list[ir.Value]:
        """The addresses of so many rows; those beyond `count` repeat the last one."""
        last = self.builder.sub(count, INT(1))
        numbers = [self.builder.select(self.builder.icmp_signed("<", INT(i), last), INT(i), last) for i in range(rows)]
        return [self.at(base, self.builder.mul(number, stride)) for number in numbers]

    def splat(self, scalar: ir.Value, kind: ir.Type, lanes: int) -> ir.Value:
        vector = ir.VectorType(kind, lanes)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, INT32(0))
        order = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
        return self.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), order)

    def broadcast(self, address: ir.Value) -> ir.Value:
        scalar = self.builder.load(self.builder.bitcast(address, self.kind.as_pointer()))
        return self.splat(scalar, self.kind, self.lanes)

    def first_lanes(self, count: ir.Value) -> ir.Value:
        """A mask with the first `count` lanes set."""
        numbers = ir.Constant(ir.VectorType(INT32, self.lanes), list(range(self.lanes)))
        limit = self.splat(self.builder.trunc(count, INT32), INT32, self.lanes)
        return self.builder.icmp_signed("<", numbers, limit)

    def interleave(self, left: ir.Value, right: ir.Value, unit: int, part: int) -> list[ir.Value]:
        """Units of some lanes from left and right in turn, as two vectors: of the first halves of all parts, and of
        their second halves."""
        starts = range(0, self.lanes, part)
        halves = [
            [start + half + first + lane + side for start in starts for first in range(0, part // 2, unit)
             for side in (0, self.lanes) for lane in range(unit)]
            for half in (0, part // 2)
        ]  # fmt: skip
        orders = [ir.Constant(ir.VectorType(INT32, self.lanes), half) for half in halves]
        return [self.builder.shuffle_vector(left, right, order) for order in orders]

    def _shuffled(self, vectors: list[ir.Value], unit: int, part: int) -> list[ir.Value]:
        """A perfect shuffle of all units, log2(vectors) times: the transpose of each part, whose elements are units."""
        half = len(vectors) // 2
        for _ in range(half.bit_length()):
            pairs = zip(vectors[:half], vectors[half:], strict=True)
            vectors = [vector for pair in pairs for vector in self.interleave(*pair, unit, part)]
        return vectors

    def transposed(self, square: list[ir.Value]) -> list[ir.Value]:
        """The transpose of as many vectors as a vector has lanes: within parts of 16 bytes, where a shuffle is one
        instruction on every CPU, then of the parts."""
        part = min(16 // self.bytes, self.lanes)
        groups = [self._shuffled(square[i : i + part], 1, part) for i in range(0, self.lanes, part)]
        columns = [self._shuffled([group[i] for group in groups], part, self.lanes) for i in range(part)]
        return [columns[i][j] for j in range(self.lanes // part) for i in range(part)]

    def _intrinsic(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._intrinsic(f"llvm.fma.{self.suffix}", self.vector, a, b, c)

    @contextmanager
    def loop(self, count: ir.Value) -> Iterator[ir.Value]:
        """A loop over 0, 1, ..., count - 1."""
        with cgutils.for_range(self.builder, count) as loop:
            yield loop.index

    @contextmanager
    def short_loop(self, count: ir.Value) -> Iterator[ir.Value]:
        """The same, as short code: LLVM would unroll it, but cannot see how often it runs."""
        builder = self.builder
        index, left = cgutils.alloca_once(builder, INT), cgutils.alloca_once(builder, INT)
        builder.store(INT(0), index)
        builder.store(count, left)
        body, end = builder.append_basic_block("body"), builder.append_basic_block("end")
        builder.cbranch(builder.icmp_signed(">", count, INT(0)), body, end)
        builder.position_at_end(body)
        number = builder.load(index)
        yield number
        builder.store(builder.add(number, INT(1)), index)
        builder.store(self.opaque(builder.sub(builder.load(left), INT(1))), left)
        builder.cbranch(builder.icmp_signed(">", builder.load(left), INT(0)), body, end)
        builder.position_at_end(end)

    def opaque(self, value: ir.Value) -> ir.Value:
        """The same value, in a register of its own, of which LLVM knows nothing."""
        kind = ir.FunctionType(value.type, [value.type])
        return self.builder.asm(kind, "", "=r,0", [value], side_effect=False)

    def load(self, address: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        """Lanes that the mask leaves out are zero, and their memory is not touched."""
        address = self.builder.bitcast(address, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(address, align=self.bytes)
        name = f"llvm.masked.load.{self.suffix}.p0"
        return self._intrinsic(name, self.vector, address, INT32(self.bytes), mask, self.zero)

    def prefetch(self, address: ir.Value) -> None:
        """Bring the line of this address into the second cache. The address need not be one of the program's."""
        name, kinds = "llvm.prefetch.p0", [INT32(number) for number in (0, 2, 1)]  # to read, not the first, data
        self._intrinsic(name, ir.VoidType(), address, *kinds)

    def store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None = None) -> None:
        address = self.builder.bitcast(address, self.vector.as_pointer())
        if mask is None:
            self.builder.store(value, address, align=self.bytes)
        else:
            name = f"llvm.masked.store.{self.suffix}.p0"
            self._intrinsic(name, ir.VoidType(), value, address, INT32(self.bytes), mask)


Body = Callable[[ir.IRBuilder, ir.Type, list[ir.Value]], None]


def function(module: ir.Module, name: str, kind: ir.Type, arguments: list[ir.Value], body: Body) -> ir.Function:
    """The module's function of this name for this float type, made when first asked for; body writes its code."""
    name = f"distprop_{name}_{kind}"
    if name in module.globals:
        return module.globals[name]
    made = ir.Function(module, ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments]), name)
    made.linkage = "linkonce_odr"
    made.attributes.add("noinline")
    made.attributes.add("nounwind")
    builder = ir.IRBuilder(made.append_basic_block("entry"))
    body(builder, kind, list(made.args))
    builder.ret_void()
    return made


def call(
    context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value], name: str, body: Body
) -> ir.Value:
    """Call the function of this name. An array and the offset behind it become one address; the first is an array."""
    arguments, remaining = [], iter(zip(signature.args, values, strict=True))
    for kind, value in remaining:
        if isinstance(kind, types.Array):
            data = context.make_array(kind)(context, builder, value).data
            value = builder.bitcast(builder.gep(data, [next(remaining)[1]]), POINTER)
        arguments.append(value)
    kind = context.get_value_type(signature.args[0].dtype)
    builder.call(function(builder.module, name, kind, arguments, body), arguments)
    return context.get_dummy_value()


def _transpose_edge(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """At most a square of as many vectors as a vector has lanes. Rows and columns beyond repeat the last one.

    Stores run backwards, so the last row that exists is written last, over what was stored there for those beyond it.
    """
    target, ldt, source, lds, rows, columns = arguments
    emit = Emitter(builder, kind, REGISTER_BYTES)
    in_columns, in_rows = emit.first_lanes(columns), emit.first_lanes(rows)
    square = [emit.load(row, in_columns) for row in emit.row_starts(source, lds, emit.lanes, rows)]
    targets = emit.row_starts(target, ldt, emit.lanes, columns)
    for vector, row in reversed(list(zip(emit.transposed(square), targets, strict=True))):
        emit.store(vector, row, in_rows)


def _transpose(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """Square by square."""
    target, ldt, source, lds, rows, columns = arguments
    emit = Emitter(builder, kind, REGISTER_BYTES)
    lanes = INT(emit.lanes)

    def squares(count: ir.Value) -> ir.Value:
        return builder.sdiv(builder.add(count, INT(emit.lanes - 1)), lanes)

    with cgutils.for_range(builder, squares(rows)) as row, cgutils.for_range(builder, squares(columns)) as column:
        i, j = builder.mul(row.index, lanes), builder.mul(column.index, lanes)
        height, width = builder.sub(rows, i), builder.sub(columns, j)
        at_source = emit.at(source, builder.mul(i, lds), j)
        at_target = emit.at(target, builder.mul(j, ldt), i)
        is_whole = builder.and_(*(builder.icmp_signed(">=", length, lanes) for length in (height, width)))
        with builder.if_else(is_whole) as (whole, edge):
            with whole:
                square = [emit.load(emit.at(at_source, builder.mul(INT(n), lds))) for n in range(emit.lanes)]
                for n, vector in enumerate(emit.transposed(square)):
                    emit.store(vector, emit.at(at_target, builder.mul(INT(n), ldt)))
            with edge:
                given = [at_target, ldt, at_source, lds, height, width]
                builder.call(function(builder.module, "transpose_edge", kind, given, _transpose_edge), given)


def _transpose_strip(height: int, builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    target, ldt, source, lds, columns = arguments
    emit = Emitter(builder, kind)
    emit = Emitter(builder, kind, height * emit.bytes)
    with cgutils.for_range(builder, builder.sdiv(builder.add(columns, INT(height - 1)), INT(height))) as loop:
        first = builder.mul(loop.index, INT(height))
        square = [emit.load(emit.at(source, first, builder.mul(INT(n), lds))) for n in range(height)]
        for n, vector in enumerate(emit.transposed(square)):
            column = builder.add(first, INT(n))
            with builder.if_then(builder.icmp_signed("<", column, columns), likely=True):
                emit.store(vector, emit.at(target, builder.mul(column, ldt)))


def _copy_panels(width: int | None, builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    target, panel, source, lds, rows, columns = arguments
    emit = Emitter(builder, kind)
    part = Emitter(builder, kind, (width or emit.lanes) * emit.bytes)
    whole, rest = builder.sdiv(columns, INT(emit.lanes)), builder.srem(columns, INT(emit.lanes))
    mask = emit.first_lanes(rest)

    def store(vector: ir.Value, row: ir.Value, number: ir.Value) -> None:
        """A vector, to its places in a row of as many panels as it takes."""
        first = emit.at(target, builder.mul(number, builder.mul(panel, INT(emit.lanes // part.lanes))))
        for n in range(emit.lanes // part.lanes):
            order = ir.Constant(ir.VectorType(INT32, part.lanes), list(range(n * part.lanes, (n + 1) * part.lanes)))
            lanes = builder.shuffle_vector(vector, emit.zero, order)
            part.store(lanes, emit.at(first, builder.mul(panel, INT(n)), builder.mul(row, INT(part.lanes))))

    with cgutils.for_range(builder, rows) as row:
        from_row = emit.at(source, builder.mul(row.index, lds))
        with cgutils.for_range(builder, whole) as vector:
            store(emit.load(emit.at(from_row, builder.mul(vector.index, INT(emit.lanes)))), row.index, vector.index)
        with builder.if_then(builder.icmp_signed(">", rest, INT(0))):
            store(emit.load(emit.at(from_row, builder.mul(whole, INT(emit.lanes))), mask), row.index, whole)


@intrinsic
def transpose(typing_context, target, at_target, ldt, source, at_source, lds, rows, columns):
    """target[j, i] = source[i, j] for i < rows and j < columns."""
    n = types.intp
    return types.void(target, n, n, source, n, n, n, n), lambda *context: call(*context, "transpose", _transpose)


def strip_transposer(height: int) -> Callable[..., None]:
    """The intrinsic with target[j, i] = source[i, j] for i < height, j < columns; reads whole vectors of `height`."""

    @intrinsic
    def transpose_strip(typing_context, target, at_target, ldt, source, at_source, lds, columns):
        n, name = types.intp, f"transpose_strip_{height}"
        signature = types.void(target, n, n, source, n, n, n)
        return signature, lambda *context: call(*context, name, partial(_transpose_strip, height))

    return transpose_strip


def panel_copier(width: int | None = None) -> Callable[..., None]:
    """The intrinsic that copies source (rows, columns) as panels of `width` columns, LANES if it isn't given.

    A panel has no gaps between its rows; panels begin `panel` elements apart. Whole vectors are filled, with zeros.
    """

    @intrinsic
    def copy_panels(typing_context, target, at_target, panel, source, at_source, lds, rows, columns):
        n, name = types.intp, f"copy_panels_{width or 'lanes'}"
        signature = types.void(target, n, n, source, n, n, n, n)
        return signature, lambda *context: call(*context, name, partial(_copy_panels, width))

    return copy_panels
