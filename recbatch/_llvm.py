"""LLVM code that `_vectors` is put together from: where rows begin, loads and stores of vectors, tiles of sums.

Imported when the loops are compiled, since it needs numba.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError

from recbatch._compiling import vector_unit

FUSED, LENGTH = vector_unit().is_fused, vector_unit().length
COLUMNS, ROWS = vector_unit().columns, vector_unit().rows
FLOAT = ir.FloatType()
INT = ir.IntType(32)


def floats() -> Any:
    return ir.VectorType(FLOAT, LENGTH)


def tile(builder: Any, left: Any, stride: Any, right: Any, width: Any, begin: Any, add: Any) -> Any:
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
        some = [load(builder, right, builder.add(start, width.type(part * LENGTH)), vector) for part in parts]
        for row in range(ROWS):
            query = spread(builder, line, width.type(row))
            for part in parts:
                builder.store(add(builder, query, some[part], builder.load(sums[row][part])), sums[row][part])
    return [[builder.load(place) for place in row] for row in sums]


def whole_groups(builder: Any, low: Any, high: Any, length: int) -> Any:
    """A loop over the starts of groups of so many columns from `low` on; a rest before `high` is left out."""
    step = low.type(length)
    rest = builder.srem(builder.sub(high, low), step)
    return cgutils.for_range_slice(builder, low, builder.sub(high, rest), step)


def in_rows(signature: Any) -> Any:
    for kind in signature.args:
        if isinstance(kind, types.Array) and (kind.layout != "C" or kind.dtype not in (types.float32, types.int32)):
            raise TypingError(f"{kind}: expected float32 or int32 in C order")
    return signature


def row_of(context: Any, builder: Any, kind: Any, value: Any, row: Any) -> tuple[Any, Any]:
    """Where a row of a C-ordered matrix begins, and its length."""
    array = context.make_array(kind)(context, builder, value)
    width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
    return builder.gep(array.data, [builder.mul(builder.sext(row, width.type), width)]), width


def higher(builder: Any, left: Any, right: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", left, right), left, right)


def sheet_of(context: Any, builder: Any, kind: Any, value: Any, number: Any) -> tuple[Any, Any, Any]:
    """Where a sheet of a C-ordered block of sheets begins, its rows and columns."""
    array = context.make_array(kind)(context, builder, value)
    _, rows, columns = cgutils.unpack_tuple(builder, array.shape, 3)
    return builder.gep(array.data, [builder.mul(number, builder.mul(rows, columns))]), rows, columns


def everywhere(builder: Any, value: Any, vector: Any) -> Any:
    """A vector that holds one number throughout."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, INT(0))
    return shuffled(builder, one, one, [0] * vector.count)


def spread(builder: Any, line: Any, place: Any) -> Any:
    """The number at a place of a line, throughout a vector of the machine's length."""
    value = builder.load(builder.gep(line, [place]))
    return everywhere(builder, value, ir.VectorType(value.type, LENGTH))


def halved(builder: Any, vector: Any, join: Any) -> Any:
    """The numbers of a vector as one: the upper half joined to the lower until two are left, and those."""
    half = vector.type.count // 2
    while half > 1:
        vector = join(piece(builder, vector, 0, half), piece(builder, vector, half, half))
        half //= 2
    return join(*(builder.extract_element(vector, INT(place)) for place in (0, 1)))


def fused_sum(builder: Any, left: Any, right: Any, so_far: Any) -> Any:
    """A product and what is already summed, left · right + so_far, in one step where the machine has it."""
    if FUSED:
        kind = left.type
        name = f"llvm.fma.v{kind.count}f{32 if kind.element == FLOAT else 64}"
        fused = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(fused, [left, right, so_far])
    return builder.fadd(builder.fmul(left, right), so_far)


def byte_sum(builder: Any, signed: Any, unsigned: Any, so_far: Any) -> Any:
    """What is already summed and, in each number, the products of its four bytes (AVX-512 VNNI: VPDPBUSD)."""
    kind, raw = so_far.type, ir.VectorType(ir.IntType(8), 4 * LENGTH)
    name = f"llvm.x86.avx512.vpdpbusd.{32 * LENGTH}"
    summed = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, raw, raw]), name)
    return builder.call(summed, [so_far, builder.bitcast(unsigned, raw), builder.bitcast(signed, raw)])


def compared(builder: Any, sign: str, left: Any, right: Any) -> Any:
    """A bit for each pair of numbers, floats or integers."""
    compare = builder.icmp_signed if left.type.element == INT else builder.fcmp_ordered
    return compare(sign, left, right)


def moved_together(builder: Any, vector: Any, which: Any) -> Any:
    """The chosen numbers of a vector first, in their order (AVX-512: VCOMPRESSPS, VPCOMPRESSD); then anything."""
    kind = vector.type
    name = f"llvm.x86.avx512.mask.compress.v{kind.count}{'f' if kind.element == FLOAT else 'i'}32"
    moved = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, kind, which.type]), name)
    return builder.call(moved, [vector, vector, which])


def store(builder: Any, line: Any, start: Any, vectors: Any) -> None:
    for number, vector in enumerate(vectors):
        place = builder.gep(line, [builder.add(start, start.type(number * LENGTH))])
        builder.store(vector, builder.bitcast(place, vector.type.as_pointer()), align=4)


def load(builder: Any, line: Any, start: Any, vector: Any) -> Any:
    place = builder.bitcast(builder.gep(line, [start]), vector.as_pointer())
    return builder.load(place, align=4)


def shuffled(builder: Any, left: Any, right: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(left, right, ir.Constant(ir.VectorType(INT, len(lanes)), lanes))


def piece(builder: Any, vector: Any, first: int, count: int) -> Any:
    return shuffled(builder, vector, vector, list(range(first, first + count)))
