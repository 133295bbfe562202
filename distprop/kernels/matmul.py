"""Register tiles of the matrix products, written as LLVM vector code.    Shapes: c (M, N) = a (M, K) @ b (K, N).

A tile is a block of c, a few rows by some vectors, that stays in registers while k runs over the product's depth.
Every element of c is one chain of fused multiply-adds with k ascending; lanes are columns of c, never terms of a sum.
So no bit depends on the tile's shape, on how the product is cut into tiles or on the CPU.
All matrices are given as an array (of any shape), the offset of the first element and strides, all counted in elements.
"""

from collections.abc import Callable
from itertools import product
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


MAX_ROWS, MAX_VECTORS = (6, 4) if _has_long_registers() else (6, 1)
TREE_ROWS, TREE_VECTORS = (6, 2) if _has_long_registers() else (3, 1)  # two of these tiles fill the registers


class _Emitter:
    """Writes the code of tiles for one float type into one IR function."""

    def __init__(self, builder: ir.IRBuilder, kind: ir.Type) -> None:
        self.builder = builder
        self.kind = kind
        self.bytes = 4 if kind == ir.FloatType() else 8
        self.lanes = VECTOR_BYTES // self.bytes
        self.vector = ir.VectorType(kind, self.lanes)
        self.zero = ir.Constant(self.vector, [0.0] * self.lanes)
        self.suffix = f"v{self.lanes}f{8 * self.bytes}"

    def at(self, base: ir.Value, *offsets: Any) -> ir.Value:
        """The address of the element that lies this many elements behind base."""
        for offset in offsets:
            offset = INT(offset) if isinstance(offset, int) else offset
            base = self.builder.gep(base, [self.builder.mul(offset, INT(self.bytes))])
        return base

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

    def interleave(self, left: ir.Value, right: ir.Value) -> tuple[ir.Value, ir.Value]:
        """left[0], right[0], left[1], right[1], ... as two vectors."""
        order = [lane + side for lane in range(self.lanes) for side in (0, self.lanes)]
        masks = [
            ir.Constant(ir.VectorType(INT32, self.lanes), half) for half in (order[: self.lanes], order[self.lanes :])
        ]
        return (
            self.builder.shuffle_vector(left, right, masks[0]),
            self.builder.shuffle_vector(left, right, masks[1]),
        )

    def _intrinsic(self, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), arguments)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        return self._intrinsic(f"llvm.fma.{self.suffix}", self.vector, a, b, c)

    def load(self, address: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        address = self.builder.bitcast(address, self.vector.as_pointer())
        if mask is None:
            return self.builder.load(address, align=self.bytes)
        name = f"llvm.masked.load.{self.suffix}.p0"
        return self._intrinsic(name, self.vector, address, INT32(self.bytes), mask, self.zero)

    def store(self, value: ir.Value, address: ir.Value, mask: ir.Value | None = None) -> None:
        address = self.builder.bitcast(address, self.vector.as_pointer())
        if mask is None:
            self.builder.store(value, address, align=self.bytes)
        else:
            name = f"llvm.masked.store.{self.suffix}.p0"
            self._intrinsic(name, ir.VoidType(), value, address, INT32(self.bytes), mask)


class _Tile(_Emitter):
    """The sums of rows x vectors of c; the last vector is masked, so that any number of columns is a tile."""

    def __init__(self, builder: ir.IRBuilder, kind: ir.Type, rows: int, vectors: int, columns: ir.Value) -> None:
        super().__init__(builder, kind)
        self.rows = range(rows)
        self.places = list(product(range(rows), range(vectors)))
        last = self.first_lanes(builder.sub(columns, INT((vectors - 1) * self.lanes)))
        self.masks = [None] * (vectors - 1) + [last]
        self.sums = {place: cgutils.alloca_once(builder, self.vector) for place in self.places}

    def row_starts(self, base: ir.Value, stride: ir.Value) -> list[ir.Value]:
        return [self.at(base, self.builder.mul(INT(i), stride)) for i in self.rows]

    def start_from(self, base: ir.Value, stride: ir.Value) -> None:
        starts = self.row_starts(base, stride)
        for i, j in self.places:
            self.builder.store(self.load(self.at(starts[i], j * self.lanes), self.masks[j]), self.sums[i, j])

    def start_from_zero(self) -> None:
        for place in self.places:
            self.builder.store(self.zero, self.sums[place])

    def accumulate(self, a_rows: list[ir.Value], a_k: ir.Value, b: ir.Value, b_k: ir.Value, depth: ir.Value) -> None:
        """sums += a @ b: the inner loop of everything."""
        with cgutils.for_range(self.builder, depth) as loop:
            b_row = self.at(b, self.builder.mul(loop.index, b_k))
            offset = self.builder.mul(loop.index, a_k)
            vectors = [self.load(self.at(b_row, j * self.lanes), mask) for j, mask in enumerate(self.masks)]
            scalars = [self.broadcast(self.at(row, offset)) for row in a_rows]
            for i, j in self.places:
                total = self.sums[i, j]
                self.builder.store(self.fma(scalars[i], vectors[j], self.builder.load(total)), total)

    def store_sums(self, c: ir.Value, ldc: ir.Value) -> None:
        """The epilogue; an activation of the sums would come here."""
        starts = self.row_starts(c, ldc)
        for i, j in self.places:
            self.store(self.builder.load(self.sums[i, j]), self.at(starts[i], j * self.lanes), self.masks[j])

    def level(self, stack: ir.Value, depth: ir.Value) -> list[tuple[ir.Value, ir.Value]]:
        """For each sum, itself and its place in a level of the stack."""
        size = len(self.places) * self.lanes
        base = self.at(stack, self.builder.mul(depth, INT(size)))
        return [(self.sums[place], self.at(base, n * self.lanes)) for n, place in enumerate(self.places)]

    def push(self, stack: ir.Value, depth: ir.Value) -> None:
        for total, address in self.level(stack, depth):
            self.store(self.builder.load(total), address)

    def add(self, other: "_Tile") -> None:
        """sums = sums + other's: other is the shard to the right."""
        for place in self.places:
            left, right = self.builder.load(self.sums[place]), self.builder.load(other.sums[place])
            self.builder.store(self.builder.fadd(left, right), self.sums[place])

    def add_level(self, stack: ir.Value, depth: ir.Value) -> None:
        """sums = level + sums: the level holds the sum of the shards to the left."""
        for total, address in self.level(stack, depth):
            self.builder.store(self.builder.fadd(self.load(address), self.builder.load(total)), total)


def _product(builder: ir.IRBuilder, kind: ir.Type, rows: int, vectors: int, arguments: list[ir.Value]) -> None:
    c, ldc, start, start_row, a, a_row, a_k, b, b_k, depth, columns = arguments
    tile = _Tile(builder, kind, rows, vectors, columns)
    tile.start_from(start, start_row)
    tile.accumulate(tile.row_starts(a, a_row), a_k, b, b_k, depth)
    tile.store_sums(c, ldc)


def _tree_product(builder: ir.IRBuilder, kind: ir.Type, rows: int, vectors: int, arguments: list[ir.Value]) -> None:
    """Two shards at a time are summed in registers, which halves what goes through the stack."""
    c, ldc, a, a_row, a_k, b, b_k, bounds, shards, stack, columns = arguments
    left, right = (_Tile(builder, kind, rows, vectors, columns) for _ in range(2))
    a_rows = left.row_starts(a, a_row)
    bounds = builder.bitcast(bounds, INT.as_pointer())

    def sum_shard(tile: _Tile, shard: ir.Value) -> None:
        first, end = (builder.load(builder.gep(bounds, [builder.add(shard, INT(i))])) for i in range(2))
        starts = [tile.at(row, builder.mul(first, a_k)) for row in a_rows]
        tile.start_from_zero()
        tile.accumulate(starts, a_k, tile.at(b, builder.mul(first, b_k)), b_k, builder.sub(end, first))

    pairs = builder.ashr(builder.add(shards, INT(1)), INT(1))
    with cgutils.for_range(builder, pairs) as loop:
        shard = builder.shl(loop.index, INT(1))
        sum_shard(left, shard)
        with builder.if_then(builder.icmp_signed("<", builder.add(shard, INT(1)), shards)):
            sum_shard(right, builder.add(shard, INT(1)))
            left.add(right)
        done, pending = builder.add(loop.index, INT(1)), builder.ctpop(loop.index)
        is_last = builder.icmp_signed("==", done, pairs)
        merges = builder.select(is_last, pending, builder.cttz(done, BOOL(1)))
        with cgutils.for_range(builder, merges) as merge:
            left.add_level(stack, builder.sub(builder.sub(pending, merge.index), INT(1)))
        with builder.if_else(is_last) as (last, not_last):
            with last:
                left.store_sums(c, ldc)
            with not_last:
                left.push(stack, builder.sub(pending, merges))


def _transpose(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """A square of as many vectors as a vector has lanes. Rows and columns beyond the edges repeat the last one.

    Stores run backwards, so the last row that exists is written last, over what was stored there for those beyond it.
    """
    target, ldt, source, lds, rows, columns = arguments
    emit = _Emitter(builder, kind)

    def row(base: ir.Value, stride: ir.Value, i: int, count: ir.Value) -> ir.Value:
        last = builder.sub(count, INT(1))
        inside = builder.icmp_signed("<", INT(i), last)
        return emit.at(base, builder.mul(builder.select(inside, INT(i), last), stride))

    in_columns, in_rows = emit.first_lanes(columns), emit.first_lanes(rows)
    square = [emit.load(row(source, lds, i, rows), in_columns) for i in range(emit.lanes)]
    for _ in range(emit.lanes.bit_length() - 1):  # a perfect shuffle of all elements, log2(lanes) times
        pairs = zip(square[: emit.lanes // 2], square[emit.lanes // 2 :], strict=True)
        square = [vector for pair in pairs for vector in emit.interleave(*pair)]
    for i in reversed(range(emit.lanes)):
        emit.store(square[i], row(target, ldt, i, columns), in_rows)


_Body = Callable[..., None]


def _function(module: ir.Module, name: str, kinds: list[ir.Type]) -> ir.Function:
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    function.attributes.add("nounwind")
    return function


def _variant(
    module: ir.Module, name: str, kinds: list[ir.Type], kind: ir.Type, body: _Body, shape: tuple[int, int]
) -> ir.Function:
    function = _function(module, f"{name}_{shape[0]}x{shape[1]}", kinds)
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    body(builder, kind, *shape, list(function.args))
    builder.ret_void()
    return function


def _dispatcher(
    module: ir.Module, body: _Body, kind: ir.Type, kinds: list[ir.Type], largest: tuple[int, int]
) -> ir.Function:
    """A function (rows, columns is the last of `kinds`) that calls the tile of the right shape."""
    name = f"distprop{body.__name__}_{kind}"
    if name in module.globals:
        return module.globals[name]
    dispatcher = _function(module, name, [INT, *kinds])
    builder = ir.IRBuilder(dispatcher.append_basic_block("entry"))
    rows, *arguments = dispatcher.args
    lanes = _Emitter(builder, kind).lanes
    vectors = builder.sdiv(builder.add(arguments[-1], INT(lanes - 1)), INT(lanes))
    key = builder.add(builder.mul(rows, INT(largest[1])), vectors)
    done = dispatcher.append_basic_block("done")
    switch = builder.switch(key, done)
    for shape in product(range(1, largest[0] + 1), range(1, largest[1] + 1)):
        block = dispatcher.append_basic_block("tile")
        switch.add_case(INT(shape[0] * largest[1] + shape[1]), block)
        builder.position_at_end(block)
        builder.call(_variant(module, name, kinds, kind, body, shape), arguments)
        builder.branch(done)
    builder.position_at_end(done)
    builder.ret_void()
    return dispatcher


def _transposer(module: ir.Module, kind: ir.Type, arguments: list[ir.Value]) -> ir.Function:
    name = f"distprop_transpose_{kind}"
    if name in module.globals:
        return module.globals[name]
    function = _function(module, name, [argument.type for argument in arguments])
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    _transpose(builder, kind, list(function.args))
    builder.ret_void()
    return function


def _address(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value, offset: ir.Value) -> ir.Value:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), POINTER)


def _emit(
    context: Any, builder: ir.IRBuilder, kinds: Any, values: list[ir.Value], body: _Body, largest: tuple[int, int]
) -> ir.Value:
    """Call body's dispatcher. An array and the offset behind it become one address; rows come first."""
    arguments, remaining = [], iter(zip(kinds, values, strict=True))
    for kind, value in remaining:
        is_array = isinstance(kind, types.Array)
        arguments.append(_address(context, builder, kind, value, next(remaining)[1]) if is_array else value)
    float_kind = context.get_value_type(kinds[1].dtype)
    dispatcher = _dispatcher(builder.module, body, float_kind, [argument.type for argument in arguments[1:]], largest)
    builder.call(dispatcher, arguments)
    return context.get_dummy_value()


@intrinsic
def product_tile(
    typing_context, rows, c, at_c, ldc, start, at_start, start_row, a, at_a, a_row, a_k, b, at_b, b_k, depth, columns
):
    """c[i, j] = start[i, j] + sum over k < depth of a[i, k] b[k, j], for i < rows <= MAX_ROWS, j < columns.

    Strides: ldc, start_row, a_row from row to row; a_k, b_k from k to k. The columns of c, start and b are contiguous.
    """
    n = types.intp
    signature = types.void(n, c, n, n, start, n, n, a, n, n, n, b, n, n, n, n)
    return signature, lambda context, builder, signature, values: _emit(
        context, builder, signature.args, values, _product, (MAX_ROWS, MAX_VECTORS)
    )


@intrinsic
def tree_tile(
    typing_context,
    rows,
    c,
    at_c,
    ldc,
    a,
    at_a,
    a_row,
    a_k,
    b,
    at_b,
    b_k,
    bounds,
    at_bounds,
    shards,
    stack,
    at_stack,
    columns,
):
    """c[i, j] = tree over shards s of (sum over bounds[s] <= k < bounds[s + 1] of a[i, k] b[k, j]), rows <= TREE_ROWS.

    Each sum starts from +0; strides are as for product_tile. The tree is built like a binary counter: before pair p of
    shards, popcount(p) nodes wait on the stack, which has room for a tile for each binary digit of the last p.
    """
    n = types.intp
    signature = types.void(n, c, n, n, a, n, n, n, b, n, n, bounds, n, n, stack, n, n)
    return signature, lambda context, builder, signature, values: _emit(
        context, builder, signature.args, values, _tree_product, (TREE_ROWS, TREE_VECTORS)
    )


@intrinsic
def transpose_tile(typing_context, target, at_target, ldt, source, at_source, lds, rows, columns):
    """target[j, i] = source[i, j] for i < rows and j < columns, both at most LANES of the type."""
    n = types.intp

    def generate(context, builder, signature, values):
        kinds = signature.args
        addresses = [_address(context, builder, kinds[i], values[i], values[i + 1]) for i in (0, 3)]
        arguments = [addresses[0], values[2], addresses[1], *values[5:]]
        builder.call(_transposer(builder.module, context.get_value_type(kinds[0].dtype), arguments), arguments)
        return context.get_dummy_value()

    return types.void(target, n, n, source, n, n, n, n), generate
