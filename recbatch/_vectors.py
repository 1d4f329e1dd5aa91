"""What numba does not vectorise by itself, as LLVM code: the lanes of a score, and the comparison of a chunk.

Imported when the loops are compiled, since it needs numba.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from recbatch._compiling import CHUNK, LANES, LINE

_HAS = binding.get_host_cpu_features()
FUSED = bool(_HAS.get("fma"))
LENGTH = 16 if _HAS.get("avx512f") else 8
"""Numbers per vector: 32 vectors of 16 with AVX-512, 16 of 8 with AVX2."""
COLUMNS = 2 * LENGTH
ROWS = 12 if LENGTH == 16 else 6
"""Candidates and queries whose products are summed at once: two vectors of candidates, and two sums for each query."""
_FLOAT = ir.FloatType()
_INT = ir.IntType(32)


@intrinsic  # type: ignore[untyped-decorator]
def lane_sums(context: Any, queries: Any, row: Any, candidates: Any, item: Any) -> Any:
    """Σ queries[row, i] · candidates[item, i] over whole groups of `LANES` columns, in the order of `_lane_sums`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left, width = _line(context, builder, signature.args[0], arguments[0], arguments[1])
        right, _ = _line(context, builder, signature.args[2], arguments[2], arguments[3])
        vector = ir.VectorType(_FLOAT, LANES)
        sums = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * LANES), sums)
        lanes = width.type(LANES)
        whole = builder.sub(width, builder.srem(width, lanes))
        with cgutils.for_range_slice(builder, width.type(0), whole, lanes) as (start, _):
            product = builder.fmul(_load(builder, left, start, vector), _load(builder, right, start, vector))
            builder.store(builder.fadd(builder.load(sums), product), sums)
        total = builder.load(sums)
        for half in (LANES // 2, LANES // 4, LANES // 8):
            total = builder.fadd(_part(builder, total, 0, half), _part(builder, total, half, half))
        return builder.fadd(builder.extract_element(total, _INT(0)), builder.extract_element(total, _INT(1)))

    return _in_rows(types.float32(queries, row, candidates, item)), generate


@intrinsic  # type: ignore[untyped-decorator]
def at_least(context: Any, scores: Any, row: Any, start: Any, floor: Any) -> Any:
    """A bit for each of `CHUNK` scores of a row from `start` on: whether it reaches the floor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, _ = _line(context, builder, signature.args[0], arguments[0], arguments[1])
        vector = ir.VectorType(_FLOAT, CHUNK)
        floors = _everywhere(builder, arguments[3], vector)
        reached = builder.fcmp_ordered(">=", _load(builder, line, arguments[2], vector), floors)
        return builder.bitcast(reached, ir.IntType(CHUNK))

    return _in_rows(types.uint64(scores, row, start, floor)), generate


@intrinsic  # type: ignore[untyped-decorator]
def reaching(context: Any, values: Any, row: Any, start: Any, more: Any, floors: Any) -> Any:
    """A bit for each of `CHUNK` numbers of a row from `start` on: whether with `more` it reaches its own floor."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, vector = signature.args, ir.VectorType(_FLOAT, CHUNK)
        line, _ = _line(context, builder, kinds[0], arguments[0], arguments[1])
        own, _ = _line(context, builder, kinds[4], arguments[4], _INT(0))
        raised = builder.fadd(
            _load(builder, line, arguments[2], vector), _everywhere(builder, arguments[3], vector)
        )
        reached = builder.fcmp_ordered(">=", raised, _load(builder, own, arguments[2], vector))
        return builder.bitcast(reached, ir.IntType(CHUNK))

    return _in_rows(types.uint64(values, row, start, more, floors)), generate


@intrinsic  # type: ignore[untyped-decorator]
def exact_share(
    context: Any, vectors: Any, row: Any, weight: Any, candidates: Any, candidate: Any, first: Any, end: Any
) -> Any:
    """Σ (vectors[row, i] · weight) · candidates[candidate, i] from `first` to `end`, whole groups of `LANES` columns.

    Products with the weight are float32, all else is float64.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, double = signature.args, ir.VectorType(ir.DoubleType(), LANES)
        left, _ = _line(context, builder, kinds[0], arguments[0], arguments[1])
        right, _ = _line(context, builder, kinds[3], arguments[3], arguments[4])
        vector = ir.VectorType(_FLOAT, LANES)
        weight, low, high = _everywhere(builder, arguments[2], vector), arguments[5], arguments[6]
        sums = cgutils.alloca_once(builder, double)
        builder.store(ir.Constant(double, [0.0] * LANES), sums)
        lanes = low.type(LANES)
        stop = builder.sub(high, builder.srem(builder.sub(high, low), lanes))
        with cgutils.for_range_slice(builder, low, stop, lanes) as (start, _):
            scaled = builder.fmul(_load(builder, left, start, vector), weight)
            wide = [builder.fpext(some, double) for some in (scaled, _load(builder, right, start, vector))]
            builder.store(builder.fadd(builder.load(sums), builder.fmul(*wide)), sums)
        total = builder.load(sums)
        for half in (LANES // 2, LANES // 4, LANES // 8):
            total = builder.fadd(_part(builder, total, 0, half), _part(builder, total, half, half))
        return builder.fadd(builder.extract_element(total, _INT(0)), builder.extract_element(total, _INT(1)))

    return _in_rows(types.float64(vectors, row, weight, candidates, candidate, first, end)), generate


@intrinsic  # type: ignore[untyped-decorator]
def products(
    context: Any, queries: Any, group: Any, first: Any, panels: Any, panel: Any, scores: Any, row: Any, column: Any
) -> Any:
    """scores[row + q, column + c] = Σ queries[group, i, first + q] · panels[panel, i, c]: `ROWS` by `COLUMNS` sums."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        left, width, stride = _sheet(context, builder, kinds[0], arguments[0], arguments[1])
        right, _, _ = _sheet(context, builder, kinds[3], arguments[3], arguments[4])
        begin = [ir.Constant(_floats(), [0.0] * LENGTH)] * ROWS
        sums = _tile(builder, builder.gep(left, [arguments[2]]), stride, right, width, begin, _sum)
        for number, of_row in enumerate(sums):
            place = builder.add(arguments[6], arguments[6].type(number))
            out, _ = _line(context, builder, kinds[5], arguments[5], place)
            _store(builder, out, arguments[7], of_row)
        return context.get_dummy_value()

    return _in_rows(types.void(queries, group, first, panels, panel, scores, row, column)), generate


@intrinsic  # type: ignore[untyped-decorator]
def byte_products(
    context: Any, queries: Any, starts: Any, steps: Any, bases: Any, group: Any, panels: Any, panel: Any, scores: Any,
    column: Any,
) -> Any:  # fmt: skip
    """scores[q, column + c] = bases[group, q] + steps[group, q] · (starts[group, q] + Σ …), sums as in `products`.

    Four bytes at a time: each number of `queries` holds four signed ones, each of `panels` four unsigned ones.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, group = signature.args, arguments[4]
        left, width, stride = _sheet(context, builder, kinds[0], arguments[0], group)
        right, _, _ = _sheet(context, builder, kinds[5], arguments[5], arguments[6])
        own = [_line(context, builder, kinds[i], arguments[i], group)[0] for i in (1, 2, 3)]

        def everywhere(line: Any, row: int) -> Any:
            value = builder.load(builder.gep(line, [width.type(row)]))
            return _everywhere(builder, value, ir.VectorType(value.type, LENGTH))

        begin = [everywhere(own[0], row) for row in range(ROWS)]
        sums = _tile(builder, left, stride, right, width, begin, _byte_sum)
        for row, of_row in enumerate(sums):
            out, _ = _line(context, builder, kinds[7], arguments[7], width.type(row))
            step, base = everywhere(own[1], row), everywhere(own[2], row)
            _store(
                builder, out, arguments[8], [_sum(builder, step, builder.sitofp(s, _floats()), base) for s in of_row]
            )
        return context.get_dummy_value()

    whole = types.void(queries, starts, steps, bases, group, panels, panel, scores, column)
    return _in_rows(whole), generate


@intrinsic  # type: ignore[untyped-decorator]
def byte_shares(
    context: Any, events: Any, starts: Any, scales: Any, row: Any, panels: Any, panel: Any, steps: Any, part: Any,
    first: Any, end: Any, shares: Any, event: Any, column: Any,
) -> Any:  # fmt: skip
    """shares[event + e, column + c] += scales[part, row + e] · steps[part, column + c] · (starts[part, row + e] + Σ …).

    The sum is that of `byte_products` over the words from `first` to `end`: events[0, i, row + e] · panels[panel, i, c].
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        row, panel, part, low, high, event, column = (arguments[i] for i in (3, 5, 7, 8, 9, 11, 12))
        left, _, stride = _sheet(context, builder, kinds[0], arguments[0], part.type(0))
        right, _, columns = _sheet(context, builder, kinds[4], arguments[4], panel)
        left = builder.gep(left, [builder.add(builder.mul(low, stride), row)])
        right = builder.gep(right, [builder.mul(low, columns)])
        begins, _ = _line(context, builder, kinds[1], arguments[1], part)
        own, _ = _line(context, builder, kinds[2], arguments[2], part)
        of_columns, _ = _line(context, builder, kinds[6], arguments[6], part)

        def everywhere(line: Any, number: int) -> Any:
            value = builder.load(builder.gep(line, [builder.add(row, row.type(number))]))
            return _everywhere(builder, value, ir.VectorType(value.type, LENGTH))

        begin = [everywhere(begins, number) for number in range(ROWS)]
        sums = _tile(builder, left, stride, right, builder.sub(high, low), begin, _byte_sum)
        places = [builder.add(column, column.type(number * LENGTH)) for number in range(COLUMNS // LENGTH)]
        worth = [_load(builder, of_columns, place, _floats()) for place in places]
        for number, of_row in enumerate(sums):
            out, _ = _line(context, builder, kinds[10], arguments[10], builder.add(event, event.type(number)))
            scale = everywhere(own, number)
            so_far = [_load(builder, out, place, _floats()) for place in places]
            added = [
                _sum(builder, builder.fmul(builder.sitofp(total, _floats()), step), scale, share)
                for total, step, share in zip(of_row, worth, so_far, strict=True)
            ]
            _store(builder, out, column, added)
        return context.get_dummy_value()

    whole = types.void(
        events, starts, scales, row, panels, panel, steps, part, first, end, shares, event, column
    )
    return _in_rows(whole), generate


def _floats() -> Any:
    return ir.VectorType(_FLOAT, LENGTH)


def _tile(builder: Any, left: Any, stride: Any, right: Any, width: Any, begin: Any, add: Any) -> Any:
    """Sums over `width` of what `ROWS` numbers of `left` and `COLUMNS` of `right` add to a beginning per row.

    The next numbers of `left` lie `stride` further, those of `right` behind the last.

    All of them stay in registers: that is what the two numbers are made for, by the length of the machine's vectors.
    """
    vector, parts = begin[0].type, range(COLUMNS // LENGTH)
    sums = [[cgutils.alloca_once(builder, vector) for _ in parts] for _ in range(ROWS)]
    for row in range(ROWS):
        for place in sums[row]:
            builder.store(begin[row], place)
    with cgutils.for_range(builder, width) as loop:
        line = builder.gep(left, [builder.mul(loop.index, stride)])
        start = builder.mul(loop.index, width.type(COLUMNS))
        some = [_load(builder, right, builder.add(start, width.type(part * LENGTH)), vector) for part in parts]
        for row in range(ROWS):
            query = _everywhere(builder, builder.load(builder.gep(line, [width.type(row)])), vector)
            for part in parts:
                builder.store(add(builder, query, some[part], builder.load(sums[row][part])), sums[row][part])
    return [[builder.load(place) for place in row] for row in sums]


@intrinsic  # type: ignore[untyped-decorator]
def turn(context: Any, source: Any, rows: Any, start: Any, target: Any, sheet: Any, column: Any) -> Any:
    """target[sheet, start + i, column + r] = source[rows[0, r], start + i] for `LENGTH` rows r and as many i."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, vector = signature.args, _floats()
        which, _ = _line(context, builder, kinds[1], arguments[1], _INT(0))
        held = []
        for number in range(LENGTH):
            row = builder.load(builder.gep(which, [_INT(number)]))
            held.append(_load(builder, _line(context, builder, kinds[0], arguments[0], row)[0], arguments[2], vector))
        step = 1
        while step < LENGTH:  # exchanges one bit of the row with the same bit of the column
            upper = [number for number in range(LENGTH) if not number & step]
            low = [i + LENGTH - step if i & step else i for i in range(LENGTH)]
            high = [i + LENGTH if i & step else i + step for i in range(LENGTH)]
            for number in upper:
                pair = held[number], held[number + step]
                held[number], held[number + step] = (_shuffled(builder, *pair, lanes) for lanes in (low, high))
            step *= 2
        out, _, columns = _sheet(context, builder, kinds[3], arguments[3], arguments[4])
        for number, one in enumerate(held):
            place = builder.add(arguments[2], arguments[2].type(number))
            _store(builder, builder.gep(out, [builder.mul(place, columns)]), arguments[5], [one])
        return context.get_dummy_value()

    return _in_rows(types.void(source, rows, start, target, sheet, column)), generate


@intrinsic  # type: ignore[untyped-decorator]
def fetch(context: Any, vectors: Any, row: Any) -> Any:
    """Tells the caches that a row of a large matrix is read soon: rows in no order are else waited for one by one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, width = _line(context, builder, signature.args[0], arguments[0], arguments[1])
        byte, reading, near, data = ir.IntType(8).as_pointer(), _INT(0), _INT(3), _INT(1)
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        told = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        with cgutils.for_range_slice(builder, width.type(0), width, width.type(LINE // 4)) as (start, _):
            builder.call(told, [builder.bitcast(builder.gep(line, [start]), byte), reading, near, data])
        return context.get_dummy_value()

    return _in_rows(types.void(vectors, row)), generate


@intrinsic  # type: ignore[untyped-decorator]
def highest(context: Any, values: Any, row: Any, chunks: Any) -> Any:
    """The highest of the first chunks of a row."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line, width = _line(context, builder, signature.args[0], arguments[0], arguments[1])
        vector, step = ir.VectorType(_FLOAT, LANES), width.type(LANES)
        most = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [float("-inf")] * LANES), most)
        end = builder.mul(arguments[2], width.type(CHUNK))
        with cgutils.for_range_slice(builder, width.type(0), end, step) as (start, _):
            builder.store(_higher(builder, _load(builder, line, start, vector), builder.load(most)), most)
        best = builder.load(most)
        for half in (LANES // 2, LANES // 4, LANES // 8):
            best = _higher(builder, _part(builder, best, 0, half), _part(builder, best, half, half))
        return _higher(builder, builder.extract_element(best, _INT(0)), builder.extract_element(best, _INT(1)))

    return _in_rows(types.float32(values, row, chunks)), generate


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


def _in_rows(signature: Any) -> Any:
    for kind in signature.args:
        if isinstance(kind, types.Array) and (kind.layout != "C" or kind.dtype not in (types.float32, types.int32)):
            raise TypingError(f"{kind}: expected float32 or int32 in C order")
    return signature


def _line(context: Any, builder: Any, kind: Any, value: Any, row: Any) -> tuple[Any, Any]:
    """Where a row of a C-ordered matrix begins, and its length."""
    array = context.make_array(kind)(context, builder, value)
    width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
    return builder.gep(array.data, [builder.mul(builder.sext(row, width.type), width)]), width


def _higher(builder: Any, left: Any, right: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


def _sheet(context: Any, builder: Any, kind: Any, value: Any, number: Any) -> tuple[Any, Any, Any]:
    """Where a sheet of a C-ordered block of sheets begins, its rows and columns."""
    array = context.make_array(kind)(context, builder, value)
    _, rows, columns = cgutils.unpack_tuple(builder, array.shape, 3)
    return builder.gep(array.data, [builder.mul(number, builder.mul(rows, columns))]), rows, columns


def _everywhere(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds one number throughout."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, _INT(0))
    return _shuffled(builder, one, one, [0] * vector.count)


def _sum(builder: Any, left: Any, right: Any, so_far: Any) -> Any:
    """A product and what is already summed, left · right + so_far, in one step where the machine has it."""
    if FUSED:
        kind = left.type
        name = f"llvm.fma.v{kind.count}f32"
        fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(fused, [left, right, so_far])
    return builder.fadd(builder.fmul(left, right), so_far)


def _byte_sum(builder: Any, signed: Any, unsigned: Any, so_far: Any) -> Any:
    """What is already summed and, in each number, the products of its four bytes (AVX-512 VNNI: VPDPBUSD)."""
    kind, raw = so_far.type, ir.VectorType(ir.IntType(8), 4 * LENGTH)
    name = f"llvm.x86.avx512.vpdpbusd.{32 * LENGTH}"
    summed = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, raw, raw]), name)
    return builder.call(summed, [so_far, builder.bitcast(unsigned, raw), builder.bitcast(signed, raw)])


def _store(builder: Any, line: Any, start: Any, vectors: Any) -> None:
    for number, vector in enumerate(vectors):
        place = builder.gep(line, [builder.add(start, start.type(number * LENGTH))])
        builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=4)


def _load(builder: Any, line: Any, start: Any, vector: Any) -> Any:
    place = builder.bitcast(builder.gep(line, [start]), vector.as_pointer())
    return builder.load(place, align=4)


def _shuffled(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(_INT, len(lanes)), lanes))


def _part(builder: Any, vector: Any, first: int, count: int) -> Any:
    return _shuffled(builder, vector, vector, list(range(first, first + count)))
