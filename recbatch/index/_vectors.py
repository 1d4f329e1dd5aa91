"""What numba does not vectorise by itself, as LLVM code: the lanes of a score, and the comparison of a chunk.

Imported when the loops are compiled, since it needs numba.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from recbatch.index._loops import CHUNK, LANES

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
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[3], _INT(0))
        floors = builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, CHUNK), [0] * CHUNK))
        reached = builder.fcmp_ordered(">=", _load(builder, line, arguments[2], vector), floors)
        return builder.bitcast(reached, ir.IntType(CHUNK))

    return _in_rows(types.uint64(scores, row, start, floor)), generate


@intrinsic  # type: ignore[untyped-decorator]
def first_bit(context: Any, bits: Any) -> Any:
    """The number of the lowest bit of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


def _in_rows(signature: Any) -> Any:
    for kind in signature.args:
        if isinstance(kind, types.Array) and (kind.layout, kind.dtype) != ("C", types.float32):
            raise TypingError(f"{kind}: expected float32 in C order")
    return signature


def _line(context: Any, builder: Any, kind: Any, value: Any, row: Any) -> tuple[Any, Any]:
    """Where a row of a C-ordered matrix begins, and its length."""
    array = context.make_array(kind)(context, builder, value)
    width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
    return builder.gep(array.data, [builder.mul(builder.sext(row, width.type), width)]), width


def _load(builder: Any, line: Any, start: Any, vector: Any) -> Any:
    place = builder.bitcast(builder.gep(line, [start]), vector.as_pointer())
    return builder.load(place, align=4)


def _part(builder: Any, vector: Any, first: int, count: int) -> Any:
    which = ir.Constant(ir.VectorType(_INT, count), list(range(first, first + count)))
    return builder.shuffle_vector(vector, vector, which)
