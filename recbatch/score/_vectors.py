"""What numba does not vectorise by itself of shares in scores, as LLVM code; see `recbatch._vectors`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recbatch import _llvm as llvm
from recbatch._compiling import CHUNK, LANES


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
