"""Register tiles of the matrix products, written as LLVM vector code.    Shapes: c (M, N) = a (M, K) @ b (K, N).

A tile is a block of c, a few rows by some vectors, that stays in registers while k runs over the product's depth.
Every element of c is one chain of fused multiply-adds with k ascending; lanes are columns of c, never terms of a sum.
So no bit depends on the tile's shape, on how the product is cut into tiles or on the CPU.
All matrices are given as an array (of any shape), the offset of the first element and strides, all counted in elements.
"""

from functools import partial
from itertools import product
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from distprop.kernels.activations import LEAKY_SLOPE
from distprop.kernels.vectors import BOOL, INT, LONG_REGISTERS, VECTOR_BYTES, Emitter, call, function

# What a tile does with its sums before it stores them. The last two are derivatives, told by the activation's result.
IDENTITY, RELU, LEAKY_RELU, RELU_SLOPE, LEAKY_RELU_SLOPE = range(5)

MAX_ROWS, LOW_ROWS, MAX_VECTORS = (6, 4, 4) if LONG_REGISTERS else (6, 4, 1)
# Where masks are in the same registers as numbers, there is room for them only beside fewer rows.
MASKED_ROWS = MAX_ROWS if LONG_REGISTERS else LOW_ROWS
# A few columns are a tile of half a vector, with more rows: of registers of that length, two can be multiplied at once.
NARROW_BYTES, NARROW_ROWS = VECTOR_BYTES // 2, 8
# The tree over a group of 2^TREE_LEVELS shards is code without loops and needs no counter. A store costs as much as a
# multiply-add or more; so where there are registers for it, the group's sums stay in them.
TREE_ROWS, TREE_LEVELS, LEVELS_IN_MEMORY = (8, 2, 0) if LONG_REGISTERS else (4, 2, 2)
THIN_ROWS, THIN_VECTORS = (2, 4) if LONG_REGISTERS else (4, 1)  # of a tile for a few rows of c


class _Tile(Emitter):
    """The sums of rows x vectors of c; with masks, so that any number of columns up to that is a tile.

    columns: None if they are whole vectors. reads_whole: the rows of b may be read beyond these columns.
    """

    def __init__(
        self,
        builder: ir.IRBuilder,
        kind: ir.Type,
        rows: int,
        vectors: int,
        columns: ir.Value | None,
        reads_whole: bool,
        vector_bytes: int = VECTOR_BYTES,
    ) -> None:
        super().__init__(builder, kind, vector_bytes)
        self.rows = range(rows)
        self.places = list(product(range(rows), range(vectors)))
        self.masks: list[ir.Value | None] = [None] * vectors
        self.is_whole = None
        if columns is not None:
            self.masks = [self.first_lanes(builder.sub(columns, INT(j * self.lanes))) for j in range(vectors)]
            self.is_whole = builder.icmp_signed("==", columns, INT(vectors * self.lanes))
        self.read_masks = [None] * vectors if reads_whole else self.masks
        self.sums = self.new_sums()

    def new_sums(self) -> dict[tuple[int, int], ir.Value]:
        return {place: cgutils.alloca_once(self.builder, self.vector) for place in self.places}

    def start_from(self, rows: list[ir.Value]) -> None:
        for i, j in self.places:
            self.builder.store(self.load(self.at(rows[i], j * self.lanes), self.masks[j]), self.sums[i, j])

    def start_from_zero(self) -> None:
        for place in self.places:
            self.builder.store(self.zero, self.sums[place])

    def accumulate(
        self,
        a_rows: list[ir.Value],
        a_k: ir.Value,
        b: ir.Value,
        b_k: ir.Value,
        depth: ir.Value,
        is_short: bool = False,
        ahead: ir.Value | None = None,
    ) -> None:
        """sums += a @ b: the inner loop of everything. is_short: it is run a few times only, again and again.

        ahead: what is as far from b, from k to k, will be read later: it is fetched into the second cache meanwhile.
        """
        with self.short_loop(depth) if is_short else self.loop(depth) as k:
            b_row = self.at(b, self.builder.mul(k, b_k))
            if ahead is not None:
                self.prefetch(self.at(ahead, self.builder.mul(k, b_k)))
            offset = self.builder.mul(k, a_k)
            vectors = [self.load(self.at(b_row, j * self.lanes), mask) for j, mask in enumerate(self.read_masks)]
            scalars = [self.broadcast(self.at(row, offset)) for row in a_rows]
            for i, j in self.places:
                total = self.sums[i, j]
                self.builder.store(self.fma(scalars[i], vectors[j], self.builder.load(total)), total)

    def store_sums(self, rows: list[ir.Value]) -> None:
        """Backwards, so that where rows are repeated, what was computed for the first of them remains."""
        if self.is_whole is None:
            self._store(rows, self.masks)
            return
        with self.builder.if_else(self.is_whole) as (whole, narrow):  # a store with a mask is slow where it is emulated
            with whole:
                self._store(rows, [None] * len(self.masks))
            with narrow:
                self._store(rows, self.masks)

    def _store(self, rows: list[ir.Value], masks: list[ir.Value | None]) -> None:
        for i, j in reversed(self.places):
            self.store(self.builder.load(self.sums[i, j]), self.at(rows[i], j * self.lanes), masks[j])

    def all_rows(self, base: ir.Value, stride: ir.Value) -> list[ir.Value]:
        """The addresses of as many rows as the tile has."""
        return [self.at(base, self.builder.mul(INT(i), stride)) for i in self.rows]

    def apply(self, epilogue: ir.Value, y_rows: list[ir.Value]) -> None:
        """Change the sums as one of the codes above says; the derivatives look at y."""
        builder = self.builder
        slope = ir.Constant(self.vector, [LEAKY_SLOPE] * self.lanes)

        def replace(is_low: Any, low: Any) -> None:
            for i, j in self.places:
                total = builder.load(self.sums[i, j])
                builder.store(builder.select(is_low(i, j, total), low(total), total), self.sums[i, j])

        def y(i: int, j: int) -> ir.Value:
            return self.load(self.at(y_rows[i], j * self.lanes), self.masks[j])

        def zero(total: ir.Value) -> ir.Value:
            return self.zero

        def scaled(total: ir.Value) -> ir.Value:
            return builder.fmul(slope, total)

        cases = {
            RELU: (lambda i, j, total: builder.fcmp_ordered("<", total, self.zero), zero),
            LEAKY_RELU: (lambda i, j, total: builder.fcmp_unordered("<=", total, self.zero), scaled),
            RELU_SLOPE: (lambda i, j, total: builder.fcmp_ordered("<=", y(i, j), self.zero), zero),
            LEAKY_RELU_SLOPE: (lambda i, j, total: builder.fcmp_unordered("<=", y(i, j), self.zero), scaled),
        }
        done = builder.append_basic_block("done")
        switch = builder.switch(epilogue, done)
        for code, case in cases.items():
            block = builder.append_basic_block("epilogue")
            switch.add_case(INT(code), block)
            builder.position_at_end(block)
            replace(*case)
            builder.branch(done)
        builder.position_at_end(done)

    def on_stack(self, stack: ir.Value, depth: ir.Value) -> dict[tuple[int, int], ir.Value]:
        """The places of the sums in a level of the stack."""
        base = self.at(stack, self.builder.mul(depth, INT(len(self.places) * self.lanes)))
        return {place: self.at(base, n * self.lanes) for n, place in enumerate(self.places)}

    def keep(self, level: dict[tuple[int, int], ir.Value]) -> None:
        for place in self.places:
            self.store(self.builder.load(self.sums[place]), level[place])

    def add(self, level: dict[tuple[int, int], ir.Value]) -> None:
        """sums = level + sums: the level holds the sum of the shards to the left."""
        for place in self.places:
            left, right = self.load(level[place]), self.builder.load(self.sums[place])
            self.builder.store(self.builder.fadd(left, right), self.sums[place])


def _product(
    rows: int, vectors: int, vector_bytes: int, builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]
) -> None:
    c, count, ldc, start, start_row, a, a_row, b, b_k, depth, columns, epilogue, y = arguments
    reads_whole = vector_bytes == VECTOR_BYTES and rows > MASKED_ROWS
    tile = _Tile(builder, kind, rows, vectors, columns, reads_whole, vector_bytes)
    tile.start_from(tile.row_starts(start, start_row, rows, count))
    tile.accumulate(tile.row_starts(a, a_row, rows, count), INT(1), b, b_k, depth)
    tile.apply(epilogue, tile.row_starts(y, ldc, rows, count))
    tile.store_sums(tile.row_starts(c, ldc, rows, count))


def _whole_product(rows: int, is_ahead: bool, builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    c, ldc, start, start_row, a, a_row, b, b_k, ahead, depth, epilogue, y = arguments
    tile = _Tile(builder, kind, rows, MAX_VECTORS, None, reads_whole=True)
    tile.start_from(tile.all_rows(start, start_row))
    a_rows = [tile.opaque(row) for row in tile.all_rows(a, a_row)]
    tile.accumulate(a_rows, INT(1), b, b_k, depth, ahead=ahead if is_ahead else None)
    tile.apply(epilogue, tile.all_rows(y, ldc))
    tile.store_sums(tile.all_rows(c, ldc))


def _whole_products(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """Down the rows: tiles of MAX_ROWS, the first of which fetch what comes next, then tiles of LOW_ROWS."""
    c, tiles, low_tiles, ldc, start, start_row, a, a_row, b, b_k, after, ahead_tiles, depth, epilogue, y = arguments
    emit, first = Emitter(builder, kind), INT(0)
    others = builder.sub(tiles, ahead_tiles)
    for rows, is_ahead, count in (
        (MAX_ROWS, True, ahead_tiles),
        (MAX_ROWS, False, others),
        (LOW_ROWS, False, low_tiles),
    ):
        with cgutils.for_range(builder, count) as loop:
            row = builder.add(first, builder.mul(loop.index, INT(rows)))
            at_c, at_start, at_a, at_y = (
                emit.at(base, builder.mul(row, stride))
                for base, stride in ((c, ldc), (start, start_row), (a, a_row), (y, ldc))
            )
            ahead = emit.at(after, builder.mul(loop.index, INT(emit.lanes)))
            tile = [at_c, ldc, at_start, start_row, at_a, a_row, b, b_k, ahead, depth, epilogue, at_y]
            name, body = f"whole_product_{rows}{'_ahead' * is_ahead}", partial(_whole_product, rows, is_ahead)
            builder.call(function(builder.module, name, kind, tile, body), tile)
        first = builder.add(first, builder.mul(count, INT(rows)))


def _products(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """Choose the tile that has the right number of vectors, and enough rows."""
    count, columns = arguments[1], arguments[-3]
    emit = Emitter(builder, kind)
    is_low = builder.zext(builder.icmp_signed("<=", count, INT(LOW_ROWS)), INT)
    vectors = builder.sdiv(builder.add(columns, INT(emit.lanes - 1)), INT(emit.lanes))
    is_narrow = builder.icmp_signed("<=", columns, INT(NARROW_BYTES // emit.bytes))
    case = builder.select(is_narrow, INT(0), builder.add(builder.shl(vectors, INT(1)), is_low))
    done = builder.append_basic_block("done")
    switch = builder.switch(case, done)
    tiles = {
        2 * number + low: (rows, number, VECTOR_BYTES)
        for number, (low, rows) in product(range(1, MAX_VECTORS + 1), enumerate((MAX_ROWS, LOW_ROWS)))
    }
    tiles[0] = NARROW_ROWS, 1, NARROW_BYTES
    for number, shape in tiles.items():
        block = builder.append_basic_block("tile")
        switch.add_case(INT(number), block)
        builder.position_at_end(block)
        name = "product_{}x{}x{}".format(*shape)
        builder.call(function(builder.module, name, kind, arguments, partial(_product, *shape)), arguments)
        builder.branch(done)
    builder.position_at_end(done)


def _tree_product(
    rows: int, vectors: int, reads_whole: bool, builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]
) -> None:
    """The tree over the shards: the levels of a group of shards, then those above on a stack."""
    c, count, ldc, a, a_k, b, b_k, bounds, shards, stack, columns = arguments
    tile = _Tile(builder, kind, rows, vectors, columns, reads_whole)
    levels = [tile.new_sums() for _ in range(TREE_LEVELS - LEVELS_IN_MEMORY)]
    levels += [tile.on_stack(stack, INT(n)) for n in range(LEVELS_IN_MEMORY)]
    a_columns = [tile.at(a, i) for i in tile.rows] if reads_whole else tile.row_starts(a, INT(1), rows, count)
    bounds = builder.bitcast(bounds, INT.as_pointer())

    def sum_shard(shard: ir.Value) -> None:
        first, end = (builder.load(builder.gep(bounds, [builder.add(shard, INT(i))])) for i in range(2))
        starts = [tile.at(column, builder.mul(first, a_k)) for column in a_columns]
        tile.start_from_zero()
        tile.accumulate(starts, a_k, tile.at(b, builder.mul(first, b_k)), b_k, builder.sub(end, first), True)

    def sum_node(shard: ir.Value, height: int) -> None:
        """The sum over 2^height shards from this one."""
        if height == 0:
            sum_shard(shard)
            return
        sum_node(shard, height - 1)
        tile.keep(levels[height - 1])
        sum_node(builder.add(shard, INT(1 << height - 1)), height - 1)
        tile.add(levels[height - 1])

    def above(depth: ir.Value) -> dict[tuple[int, int], ir.Value]:
        return tile.on_stack(stack, builder.add(depth, INT(LEVELS_IN_MEMORY)))

    def sum_nodes(first: ir.Value, nodes: ir.Value, height: int) -> None:
        """As many nodes of one height from this shard on, each added to those to the left that wait for it."""
        with tile.loop(nodes) as number:
            shard = builder.add(first, builder.shl(number, INT(height)))
            sum_node(shard, height)
            done, pending = builder.add(shard, INT(1 << height)), builder.ctpop(shard)
            is_last = builder.icmp_signed("==", done, shards)
            ends = builder.sub(builder.cttz(done, BOOL(1)), INT(height))
            merges = builder.select(is_last, pending, ends)
            left = builder.sub(pending, merges)
            with tile.short_loop(merges) as index:
                tile.add(above(builder.sub(builder.sub(pending, INT(1)), index)))
            with builder.if_else(is_last) as (last, not_last):
                with last:
                    tile.store_sums(tile.all_rows(c, ldc) if columns is None else tile.row_starts(c, ldc, rows, count))
                with not_last:
                    tile.keep(above(left))

    groups = builder.ashr(shards, INT(TREE_LEVELS))
    sum_nodes(INT(0), groups, TREE_LEVELS)
    grouped = builder.shl(groups, INT(TREE_LEVELS))
    sum_nodes(grouped, builder.sub(shards, grouped), 0)


def _tree_panel(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """Panels without gaps have code of their own: where shards have few rows, a known stride saves up to a tenth."""
    a_k = arguments[5]
    has_no_gaps = builder.icmp_signed("==", a_k, INT(TREE_ROWS))
    with builder.if_else(has_no_gaps) as (without, with_gaps):
        for case, stride in ((without, INT(TREE_ROWS)), (with_gaps, a_k)):
            with case:
                _tree_tiles(builder, kind, [*arguments[:5], stride, *arguments[6:]])


def _tree_tiles(builder: ir.IRBuilder, kind: ir.Type, arguments: list[ir.Value]) -> None:
    """Tile by tile down the rows of c, which are the columns of a: whole tiles, then the others."""
    c, rows, ldc, a, a_panel, a_k, b, b_k, bounds, shards, stack, columns = arguments
    emit = Emitter(builder, kind)
    is_whole = builder.icmp_signed("==", columns, INT(emit.lanes))
    whole = builder.select(is_whole, builder.sdiv(rows, INT(TREE_ROWS)), INT(0))
    tiles = builder.sdiv(builder.add(rows, INT(TREE_ROWS - 1)), INT(TREE_ROWS))
    for begin, end, tile_columns in ((INT(0), whole, None), (whole, tiles, columns)):
        with cgutils.for_range(builder, builder.sub(end, begin)) as loop:
            panel = builder.add(begin, loop.index)
            first = builder.mul(panel, INT(TREE_ROWS))
            left = builder.sub(rows, first)
            at_a, at_c = emit.at(a, builder.mul(panel, a_panel)), emit.at(c, builder.mul(first, ldc))
            tile = [at_c, left, ldc, at_a, a_k, b, b_k, bounds, shards, stack, tile_columns]
            _tree_product(TREE_ROWS, 1, True, builder, kind, tile)


@intrinsic
def product_tile(
    typing_context,
    c, at_c, rows, ldc, start, at_start, start_row, a, at_a, a_row, b, at_b, b_k, depth, columns, epilogue, y, at_y,
):  # fmt: skip
    """c[i, j] = f(start[i, j] + sum over k < depth of a[i, k] b[k, j]), for i < rows, j < columns.

    rows <= MAX_ROWS; unless columns are whole vectors, rows <= MASKED_ROWS, or NARROW_ROWS if the columns are within
    NARROW_BYTES. f is one of IDENTITY, RELU, ...; y has c's strides and is read by derivatives only. Strides: ldc,
    a_row from row to row, b_k from k to k. The rows of all matrices are contiguous.
    """
    n = types.intp
    signature = types.void(c, n, n, n, start, n, n, a, n, n, b, n, n, n, n, n, y, n)
    return signature, lambda *context: call(*context, "product", _products)


@intrinsic
def product_panel(
    typing_context,
    c, at_c, tiles, low_tiles, ldc, start, at_start, start_row, a, at_a, a_row, b, at_b, b_k, after, at_after,
    ahead_tiles, depth, epilogue, y, at_y,
):  # fmt: skip
    """As product_tile, for MAX_VECTORS whole vectors of columns and as many rows as these tiles have together:

    tiles of MAX_ROWS rows, then low_tiles of LOW_ROWS. after: what will be read next in the place of b; the first
    ahead_tiles <= MAX_VECTORS fetch a vector's columns of it each.
    """
    n = types.intp
    signature = types.void(c, n, n, n, n, start, n, n, a, n, n, b, n, n, b, n, n, n, n, y, n)
    return signature, lambda *context: call(*context, "whole_products", _whole_products)


@intrinsic
def tree_panel(
    typing_context,
    c, at_c, rows, ldc, a, at_a, a_panel, a_k, b, at_b, b_k, bounds, at_bounds, shards, stack, at_stack, columns,
):  # fmt: skip
    """c[i, j] = tree over shards s of (sum over bounds[s] <= k < bounds[s + 1] of a[k, i] b[k, j]).

    For i < rows, j < columns <= LANES. Each sum starts from +0. a lies in panels of TREE_ROWS columns, filled up,
    a_panel elements apart, their rows a_k apart; whole vectors of b's rows are read, which are b_k apart.
    The tree is built like a binary counter: before shard s, popcount(s) nodes wait on the stack, which has
    room for LEVELS_IN_MEMORY tiles and one for each binary digit of the number of shards.
    """
    n = types.intp
    signature = types.void(c, n, n, n, a, n, n, n, b, n, n, bounds, n, n, stack, n, n)
    return signature, lambda *context: call(*context, "tree_panel", _tree_panel)


@intrinsic
def tree_tile(
    typing_context,
    c, at_c, rows, ldc, a, at_a, a_k, b, at_b, b_k, bounds, at_bounds, shards, stack, at_stack, columns,
):  # fmt: skip
    """As tree_panel, for rows <= THIN_ROWS and columns up to THIN_VECTORS vectors. Nothing beyond them is read.

    a_k and b_k: strides from k to k; the columns of both are contiguous.
    """
    n = types.intp
    signature = types.void(c, n, n, n, a, n, n, b, n, n, bounds, n, n, stack, n, n)
    body = partial(_tree_product, THIN_ROWS, THIN_VECTORS, False)
    return signature, lambda *context: call(*context, "tree_tile", body)
