"""What numba does not vectorise by itself, as LLVM code: the lanes of a score, tiles of products, a chunk compared.

Imported when the loops are compiled, since it needs numba.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recbatch import _llvm as llvm
from recbatch._compiling import CHUNK, LANES, LINE, STRETCH


@intrinsic  # type: ignore[untyped-decorator]
def lane_sums(context: Any, queries: Any, row: Any, candidates: Any, item: Any) -> Any:
    """Σ queries[row, i] · candidates[item, i] over whole groups of `LANES` columns, in the order of `_lane_sums`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, width = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        right, _ = llvm.row_of(context, builder, signature.args[2], arguments[2], arguments[3])
        vector = ir.VectorType(llvm.FLOAT, LANES)
        sums = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * LANES), sums)
        with llvm.whole_groups(builder, width.type(0), width, LANES) as (start, _):
            product = builder.fmul(llvm.load(builder, left, start, vector), llvm.load(builder, right, start, vector))
            builder.store(builder.fadd(builder.load(sums), product), sums)
        return llvm.halved(builder, builder.load(sums), builder.fadd)

    return llvm.in_rows(types.float32(queries, row, candidates, item)), generate


@intrinsic  # type: ignore[untyped-decorator]
def at_least(context: Any, scores: Any, row: Any, start: Any, floor: Any) -> Any:
    """A bit for each of `CHUNK` scores of a row from `start` on, floats or integers: whether it reaches the floor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, _ = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        vector = ir.VectorType(arguments[3].type, CHUNK)
        values, floors = llvm.load(builder, line, arguments[2], vector), llvm.everywhere(builder, arguments[3], vector)
        return builder.bitcast(llvm.compared(builder, ">=", values, floors), ir.IntType(CHUNK))

    return llvm.in_rows(types.uint64(scores, row, start, floor)), generate


@intrinsic  # type: ignore[untyped-decorator]
def any_at_least(context: Any, scores: Any, row: Any, start: Any, floor: Any) -> Any:
    """Whether any of `STRETCH` scores of a row from `start` on, floats or integers, reaches the floor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, _ = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        vector = ir.VectorType(arguments[3].type, llvm.LENGTH)
        places = [builder.add(arguments[2], arguments[2].type(at)) for at in range(0, STRETCH, llvm.LENGTH)]
        values = [llvm.load(builder, line, place, vector) for place in places]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [builder.select(llvm.compared(builder, ">", *pair), *pair) for pair in pairs]
        reached = llvm.compared(builder, ">=", values[0], llvm.everywhere(builder, arguments[3], vector))
        bits = builder.bitcast(reached, ir.IntType(llvm.LENGTH))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return llvm.in_rows(types.boolean(scores, row, start, floor)), generate


@intrinsic  # type: ignore[untyped-decorator]
def _append(
    context: Any, scores: Any, line: Any, start: Any, least: Any, starts: Any, steps: Any, bases: Any, row: Any,
    values: Any, items: Any, count: Any, first: Any,
) -> Any:  # fmt: skip
    """As `index._loops.append`, without a branch: what reaches the floor is moved together in a vector, by AVX-512."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        scores, _ = llvm.row_of(context, builder, kinds[0], arguments[0], arguments[1])
        out, _ = llvm.row_of(context, builder, kinds[8], arguments[8], arguments[7])
        which, _ = llvm.row_of(context, builder, kinds[9], arguments[9], arguments[7])
        start, least, row, count, first = (arguments[place] for place in (2, 3, 7, 10, 11))
        sums, numbers = ir.VectorType(least.type, llvm.LENGTH), ir.VectorType(llvm.INT, llvm.LENGTH)
        floors = llvm.everywhere(builder, least, sums)
        if least.type == llvm.INT:
            facts = [context.make_array(kinds[at])(context, builder, arguments[at]).data for at in (4, 5, 6)]
            begin, step, base = (builder.load(builder.gep(fact, [row])) for fact in facts)
            begin, step, base = (
                llvm.everywhere(builder, one, llvm.floats()) for one in (builder.sitofp(begin, llvm.FLOAT), step, base)
            )
        lanes = ir.Constant(numbers, list(range(llvm.LENGTH)))
        place = builder.trunc(builder.add(first, start), llvm.INT)
        for part in range(0, CHUNK, llvm.LENGTH):
            some = llvm.load(builder, scores, builder.add(start, start.type(part)), sums)
            reached = llvm.compared(builder, ">=", some, floors)
            if least.type == llvm.INT:
                some = builder.fadd(begin, builder.sitofp(some, llvm.floats()))
                some = builder.fadd(base, builder.fmul(step, some))
            items = builder.add(llvm.everywhere(builder, builder.add(place, llvm.INT(part)), numbers), lanes)
            llvm.store(builder, out, count, [llvm.moved_together(builder, some, reached)])
            llvm.store(builder, which, count, [llvm.moved_together(builder, items, reached)])
            bits = builder.bitcast(reached, ir.IntType(llvm.LENGTH))
            count = builder.add(count, builder.zext(builder.ctpop(bits), count.type))
        return count

    return llvm.in_rows(
        types.int64(scores, line, start, least, starts, steps, bases, row, values, items, count, first)
    ), generate


append = _append if llvm.LENGTH == 16 else None
"""None where vectors cannot be moved together."""


@intrinsic  # type: ignore[untyped-decorator]
def add_scaled(context: Any, total: Any, row: Any, vectors: Any, item: Any, weight: Any, first: Any, end: Any) -> Any:
    """total[row, i] += vectors[item, i] · weight from `first` to `end`, whole groups of `LANES` columns; two roundings.

    Left to itself, numba does this number by number: eight times as slow.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, _ = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        added, _ = llvm.row_of(context, builder, signature.args[2], arguments[2], arguments[3])
        vector, low, high = ir.VectorType(llvm.FLOAT, LANES), arguments[5], arguments[6]
        weight = llvm.everywhere(builder, arguments[4], vector)
        with llvm.whole_groups(builder, low, high, LANES) as (start, _):
            scaled = builder.fmul(llvm.load(builder, added, start, vector), weight)
            llvm.store(builder, sums, start, [builder.fadd(llvm.load(builder, sums, start, vector), scaled)])
        return context.get_dummy_value()

    return llvm.in_rows(types.void(total, row, vectors, item, weight, first, end)), generate


@intrinsic  # type: ignore[untyped-decorator]
def products(
    context: Any, queries: Any, group: Any, first: Any, panels: Any, panel: Any, scores: Any, row: Any, column: Any
) -> Any:
    """scores[row + q, column + c] = Σ queries[group, i, first + q] · panels[panel, i, c]: `ROWS` by `COLUMNS` sums."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        left, width, stride = llvm.sheet_of(context, builder, kinds[0], arguments[0], arguments[1])
        right, _, _ = llvm.sheet_of(context, builder, kinds[3], arguments[3], arguments[4])
        begin = [ir.Constant(llvm.floats(), [0.0] * llvm.LENGTH)] * llvm.ROWS
        sums = llvm.tile(builder, builder.gep(left, [arguments[2]]), stride, right, width, begin, llvm.fused_sum)
        for number, of_row in enumerate(sums):
            place = builder.add(arguments[6], arguments[6].type(number))
            out, _ = llvm.row_of(context, builder, kinds[5], arguments[5], place)
            llvm.store(builder, out, arguments[7], of_row)
        return context.get_dummy_value()

    return llvm.in_rows(types.void(queries, group, first, panels, panel, scores, row, column)), generate


@intrinsic  # type: ignore[untyped-decorator]
def byte_products(context: Any, queries: Any, group: Any, panels: Any, panel: Any, scores: Any, column: Any) -> Any:
    """scores[q, column + c] = Σ queries[group, i, q] · panels[panel, i, c] as in `products`, four bytes at a time.

    Each number of `queries` holds four signed ones, each of `panels` four unsigned ones.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        left, width, stride = llvm.sheet_of(context, builder, kinds[0], arguments[0], arguments[1])
        right, _, _ = llvm.sheet_of(context, builder, kinds[2], arguments[2], arguments[3])
        begin = [ir.Constant(ir.VectorType(llvm.INT, llvm.LENGTH), [0] * llvm.LENGTH)] * llvm.ROWS
        for row, sums in enumerate(llvm.tile(builder, left, stride, right, width, begin, llvm.byte_sum)):
            out, _ = llvm.row_of(context, builder, kinds[4], arguments[4], width.type(row))
            llvm.store(builder, out, arguments[5], sums)
        return context.get_dummy_value()

    return llvm.in_rows(types.void(queries, group, panels, panel, scores, column)), generate


@intrinsic  # type: ignore[untyped-decorator]
def turn(context: Any, source: Any, rows: Any, start: Any, target: Any, sheet: Any, column: Any) -> Any:
    """target[sheet, start + i, column + r] = source[rows[0, r], start + i] for `LENGTH` rows r and as many i."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, vector = signature.args, llvm.floats()
        which, _ = llvm.row_of(context, builder, kinds[1], arguments[1], llvm.INT(0))
        held = []
        for number in range(llvm.LENGTH):
            row = builder.load(builder.gep(which, [llvm.INT(number)]))
            held.append(
                llvm.load(builder, llvm.row_of(context, builder, kinds[0], arguments[0], row)[0], arguments[2], vector)
            )
        step = 1
        while step < llvm.LENGTH:  # exchanges one bit of the row with the same bit of the column
            upper = [number for number in range(llvm.LENGTH) if not number & step]
            low = [i + llvm.LENGTH - step if i & step else i for i in range(llvm.LENGTH)]
            high = [i + llvm.LENGTH if i & step else i + step for i in range(llvm.LENGTH)]
            for number in upper:
                pair = held[number], held[number + step]
                held[number], held[number + step] = (llvm.shuffled(builder, *pair, lanes) for lanes in (low, high))
            step *= 2
        out, _, columns = llvm.sheet_of(context, builder, kinds[3], arguments[3], arguments[4])
        for number, one in enumerate(held):
            place = builder.add(arguments[2], arguments[2].type(number))
            llvm.store(builder, builder.gep(out, [builder.mul(place, columns)]), arguments[5], [one])
        return context.get_dummy_value()

    return llvm.in_rows(types.void(source, rows, start, target, sheet, column)), generate


@intrinsic  # type: ignore[untyped-decorator]
def fetch(context: Any, vectors: Any, row: Any) -> Any:
    """Tells the caches that a row of a large matrix is read soon: rows in no order are else waited for one by one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, width = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        byte, reading, near, data = ir.IntType(8).as_pointer(), llvm.INT(0), llvm.INT(3), llvm.INT(1)
        kind = ir.FunctionType(ir.VoidType(), [byte, llvm.INT, llvm.INT, llvm.INT])
        told = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        with cgutils.for_range_slice(builder, width.type(0), width, width.type(LINE // 4)) as (start, _):
            builder.call(told, [builder.bitcast(builder.gep(line, [start]), byte), reading, near, data])
        return context.get_dummy_value()

    return llvm.in_rows(types.void(vectors, row)), generate


@intrinsic  # type: ignore[untyped-decorator]
def highest(context: Any, values: Any, row: Any, chunks: Any) -> Any:
    """The highest of the first chunks of a row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, width = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        vector, step = ir.VectorType(llvm.FLOAT, LANES), width.type(LANES)
        most = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [float("-inf")] * LANES), most)
        end = builder.mul(arguments[2], width.type(CHUNK))
        with cgutils.for_range_slice(builder, width.type(0), end, step) as (start, _):
            builder.store(llvm.higher(builder, llvm.load(builder, line, start, vector), builder.load(most)), most)
        return llvm.halved(builder, builder.load(most), partial(llvm.higher, builder))

    return llvm.in_rows(types.float32(values, row, chunks)), generate


@intrinsic  # type: ignore[untyped-decorator]
def ones(context: Any, bits: Any) -> Any:
    """How many bits of a word are not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def first_bit(context: Any, bits: Any) -> Any:
    """The number of the lowest bit of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate
