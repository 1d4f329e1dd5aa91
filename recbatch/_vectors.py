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
        compare = builder.icmp_signed if vector.element == llvm.INT else builder.fcmp_ordered
        return builder.bitcast(compare(">=", values, floors), ir.IntType(CHUNK))

    return llvm.in_rows(types.uint64(scores, row, start, floor)), generate


@intrinsic  # type: ignore[untyped-decorator]
def any_at_least(context: Any, scores: Any, row: Any, start: Any, floor: Any) -> Any:
    """Whether any of `STRETCH` scores of a row from `start` on, floats or integers, reaches the floor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, _ = llvm.row_of(context, builder, signature.args[0], arguments[0], arguments[1])
        vector = ir.VectorType(arguments[3].type, llvm.LENGTH)
        compare = builder.icmp_signed if vector.element == llvm.INT else builder.fcmp_ordered
        places = [builder.add(arguments[2], arguments[2].type(at)) for at in range(0, STRETCH, llvm.LENGTH)]
        values = [llvm.load(builder, line, place, vector) for place in places]
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=True)
            values = [builder.select(compare(">", left, right), left, right) for left, right in pairs]
        reached = compare(">=", values[0], llvm.everywhere(builder, arguments[3], vector))
        bits = builder.bitcast(reached, ir.IntType(llvm.LENGTH))
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return llvm.in_rows(types.boolean(scores, row, start, floor)), generate


@intrinsic  # type: ignore[untyped-decorator]
def reaching(context: Any, values: Any, row: Any, start: Any, more: Any, floors: Any) -> Any:
    """A bit for each of `CHUNK` numbers of a row from `start` on: whether with `more` it reaches its own floor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, vector = signature.args, ir.VectorType(llvm.FLOAT, CHUNK)
        line, _ = llvm.row_of(context, builder, kinds[0], arguments[0], arguments[1])
        own, _ = llvm.row_of(context, builder, kinds[4], arguments[4], llvm.INT(0))
        raised = builder.fadd(
            llvm.load(builder, line, arguments[2], vector), llvm.everywhere(builder, arguments[3], vector)
        )
        reached = builder.fcmp_ordered(">=", raised, llvm.load(builder, own, arguments[2], vector))
        return builder.bitcast(reached, ir.IntType(CHUNK))

    return llvm.in_rows(types.uint64(values, row, start, more, floors)), generate


@intrinsic  # type: ignore[untyped-decorator]
def exact_share(
    context: Any, vectors: Any, row: Any, weight: Any, candidates: Any, candidate: Any, first: Any, end: Any
) -> Any:
    """Σ (vectors[row, i] · weight) · candidates[candidate, i] from `first` to `end`, whole groups of `LANES` columns.

    Products with the weight are float32, all else is float64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, double = signature.args, ir.VectorType(ir.DoubleType(), LANES)
        left, _ = llvm.row_of(context, builder, kinds[0], arguments[0], arguments[1])
        right, _ = llvm.row_of(context, builder, kinds[3], arguments[3], arguments[4])
        vector = ir.VectorType(llvm.FLOAT, LANES)
        weight, low, high = llvm.everywhere(builder, arguments[2], vector), arguments[5], arguments[6]
        sums = cgutils.alloca_once(builder, double)
        builder.store(ir.Constant(double, [0.0] * LANES), sums)
        with llvm.whole_groups(builder, low, high, LANES) as (start, _):
            scaled = builder.fmul(llvm.load(builder, left, start, vector), weight)
            wide = builder.fpext(scaled, double), builder.fpext(llvm.load(builder, right, start, vector), double)
            builder.store(llvm.fused_sum(builder, *wide, builder.load(sums)), sums)
        return llvm.halved(builder, builder.load(sums), builder.fadd)

    return llvm.in_rows(types.float64(vectors, row, weight, candidates, candidate, first, end)), generate


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
def byte_shares(
    context: Any, events: Any, starts: Any, scales: Any, row: Any, panels: Any, panel: Any, steps: Any, part: Any,
    first: Any, end: Any, shares: Any, event: Any, column: Any,
) -> Any:  # fmt: skip
    """shares[event + e, column + c] += scales[part, row + e] · steps[part, column + c] · (starts[part, row + e] + Σ).

    Σ events[0, i, row + e] · panels[panel, i, c] over the words from `first` to `end`, as in `byte_products`.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        row, panel, part, low, high, event, column = (arguments[i] for i in (3, 5, 7, 8, 9, 11, 12))
        left, _, stride = llvm.sheet_of(context, builder, kinds[0], arguments[0], part.type(0))
        right, _, columns = llvm.sheet_of(context, builder, kinds[4], arguments[4], panel)
        left = builder.gep(left, [builder.add(builder.mul(low, stride), row)])
        right = builder.gep(right, [builder.mul(low, columns)])
        begins, _ = llvm.row_of(context, builder, kinds[1], arguments[1], part)
        own, _ = llvm.row_of(context, builder, kinds[2], arguments[2], part)
        of_columns, _ = llvm.row_of(context, builder, kinds[6], arguments[6], part)

        def everywhere(line: Any, number: int) -> Any:
            return llvm.spread(builder, line, builder.add(row, row.type(number)))

        begin = [everywhere(begins, number) for number in range(llvm.ROWS)]
        sums = llvm.tile(builder, left, stride, right, builder.sub(high, low), begin, llvm.byte_sum)
        places = [
            builder.add(column, column.type(number * llvm.LENGTH)) for number in range(llvm.COLUMNS // llvm.LENGTH)
        ]
        worth = [llvm.load(builder, of_columns, place, llvm.floats()) for place in places]
        for number, of_row in enumerate(sums):
            out, _ = llvm.row_of(context, builder, kinds[10], arguments[10], builder.add(event, event.type(number)))
            scale = everywhere(own, number)
            so_far = [llvm.load(builder, out, place, llvm.floats()) for place in places]
            added = [
                llvm.fused_sum(builder, builder.fmul(builder.sitofp(total, llvm.floats()), step), scale, share)
                for total, step, share in zip(of_row, worth, so_far, strict=True)
            ]
            llvm.store(builder, out, column, added)
        return context.get_dummy_value()

    whole = types.void(events, starts, scales, row, panels, panel, steps, part, first, end, shares, event, column)
    return llvm.in_rows(whole), generate


@intrinsic  # type: ignore[untyped-decorator]
def sum_of_parts(
    context: Any, sums: Any, scales: Any, steps: Any, reach: Any, floors: Any, leaders: Any, shares: Any, event: Any,
    column: Any,
) -> Any:  # fmt: skip
    """shares[event + e, column + c] = Σ over parts p of scales[p, e] · steps[p, column + c] · sums[p, e, c].

    floors[0, column + c] is raised to what a share surely is, less reach[0, event + e], by leaders[0, column + c].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, (event, column) = signature.args, arguments[7:]
        first = event.type(0)
        own, events = llvm.row_of(context, builder, kinds[1], arguments[1], first)
        of_columns, width = llvm.row_of(context, builder, kinds[2], arguments[2], first)
        of_events, lowest, ahead = (llvm.row_of(context, builder, kinds[i], arguments[i], first)[0] for i in (3, 4, 5))
        summed, rows, columns = llvm.sheet_of(context, builder, kinds[0], arguments[0], first)
        parts = cgutils.unpack_tuple(builder, context.make_array(kinds[0])(context, builder, arguments[0]).shape, 3)[0]
        starts = range(0, llvm.COLUMNS, llvm.LENGTH)
        places = [builder.add(column, column.type(start)) for start in starts]
        shares = [cgutils.alloca_once(builder, llvm.floats()) for _ in starts]
        floors = [cgutils.alloca_once_value(builder, llvm.load(builder, lowest, at, llvm.floats())) for at in places]
        whole = ir.VectorType(llvm.INT, llvm.LENGTH)
        leaders = [cgutils.alloca_once_value(builder, llvm.load(builder, ahead, at, whole)) for at in places]
        with cgutils.for_range(builder, rows) as row:
            for share in shares:
                builder.store(ir.Constant(llvm.floats(), [0.0] * llvm.LENGTH), share)
            with cgutils.for_range(builder, parts) as part:
                scale = llvm.spread(builder, own, builder.add(builder.mul(part.index, events), row.index))
                line = builder.mul(builder.add(builder.mul(part.index, rows), row.index), columns)
                for start, place, share in zip(starts, places, shares, strict=True):
                    at = builder.add(line, line.type(start))
                    total = llvm.load(builder, summed, at, whole)
                    step = llvm.load(
                        builder, of_columns, builder.add(builder.mul(part.index, width), place), llvm.floats()
                    )
                    worth = builder.fmul(builder.sitofp(total, llvm.floats()), step)
                    builder.store(llvm.fused_sum(builder, worth, scale, builder.load(share)), share)
            place = builder.add(event, row.index)
            out, _ = llvm.row_of(context, builder, kinds[6], arguments[6], place)
            less = llvm.spread(builder, of_events, place)
            number = llvm.everywhere(builder, builder.trunc(place, llvm.INT), whole)
            llvm.store(builder, out, column, [builder.load(share) for share in shares])
            for share, floor, leader in zip(shares, floors, leaders, strict=True):
                sure = builder.fsub(builder.load(share), less)
                leads = builder.fcmp_ordered(">", sure, builder.load(floor))
                builder.store(builder.select(leads, sure, builder.load(floor)), floor)
                builder.store(builder.select(leads, number, builder.load(leader)), leader)
        llvm.store(builder, lowest, column, [builder.load(floor) for floor in floors])
        llvm.store(builder, ahead, column, [builder.load(leader) for leader in leaders])
        return context.get_dummy_value()

    return llvm.in_rows(types.void(sums, scales, steps, reach, floors, leaders, shares, event, column)), generate


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
