"""Products of bytes by the matrix unit of newer Intel processors (AMX), 16 queries by 32 candidates, as LLVM code.

Eight registers of 16 rows of 64 bytes each: two take sums, the others four bytes of each query or candidate per number,
16 numbers deep, and what is left of the depth. Imported when the loops are compiled, since it needs numba.

Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recbatch import _llvm as llvm
from recbatch._compiling import LINE, TILE_COLUMNS, TILE_DEPTH, TILE_ROWS

_BYTE = ir.IntType(8)
_LONG = ir.IntType(64)
_SUMS = (0, 1)
_WHOLE = (2, 3, 4)
_REST = (5, 6, 7)
"""Registers of queries and of either half of the candidates, see `_compiling.tile_shapes`."""


@intrinsic  # type: ignore[untyped-decorator]
def begin(context: Any, shapes: Any) -> Any:
    """Gives this thread's registers the shapes of `_compiling.tile_shapes`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        _call(builder, "ldtilecfg", builder.bitcast(array.data, _BYTE.as_pointer()))
        return context.get_dummy_value()

    return types.void(shapes), generate


@intrinsic  # type: ignore[untyped-decorator]
def end(context: Any) -> Any:
    """Gives the registers back: what a thread holds in them is saved whenever another takes its place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _call(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def byte_products(
    context: Any, queries: Any, starts: Any, steps: Any, bases: Any, group: Any, panels: Any, panel: Any, scores: Any,
    column: Any,
) -> Any:  # fmt: skip
    """As `_vectors.byte_products`, where both sides stand register by register; see `index._rounded`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, group = signature.args, arguments[4]
        left, _, _ = llvm.sheet_of(context, builder, kinds[0], arguments[0], group)
        right, width, _ = llvm.sheet_of(context, builder, kinds[5], arguments[5], arguments[6])
        own = [llvm.row_of(context, builder, kinds[i], arguments[i], group)[0] for i in (1, 2, 3)]
        summed = _sums(builder, left, right, width)
        for row in range(TILE_ROWS):
            out, _ = llvm.row_of(context, builder, kinds[7], arguments[7], width.type(row))
            start, step, base = (llvm.spread(builder, line, width.type(row)) for line in own)
            found = []
            for part in range(TILE_COLUMNS // llvm.LENGTH):
                place = width.type(row * TILE_COLUMNS + part * llvm.LENGTH)
                total = builder.add(start, llvm.load(builder, summed, place, start.type))
                found.append(llvm.fused_sum(builder, step, builder.sitofp(total, llvm.floats()), base))
            llvm.store(builder, out, arguments[8], found)
        return context.get_dummy_value()

    whole = types.void(queries, starts, steps, bases, group, panels, panel, scores, column)
    return llvm.in_rows(whole), generate


def _sums(builder: Any, left: Any, right: Any, width: Any) -> Any:
    """Where the sums of all pairs stand, row by row, over `width` numbers of four bytes."""
    summed = cgutils.alloca_once(builder, ir.ArrayType(llvm.INT, TILE_ROWS * TILE_COLUMNS))
    summed.align = LINE
    summed = builder.bitcast(summed, llvm.INT.as_pointer())
    depth = width.type(TILE_DEPTH)
    halves = right, builder.gep(right, [builder.mul(width, width.type(TILE_COLUMNS // 2))])

    def add(registers: tuple[int, int, int], start: Any) -> None:
        _load(builder, registers[0], builder.gep(left, [builder.mul(start, width.type(TILE_ROWS))]))
        for register, half in zip(registers[1:], halves, strict=True):
            _load(builder, register, builder.gep(half, [builder.mul(start, width.type(TILE_COLUMNS // 2))]))
        for sums, of_half in zip(_SUMS, registers[1:], strict=True):
            _call(builder, "tdpbsud", _BYTE(sums), _BYTE(registers[0]), _BYTE(of_half))

    for sums in _SUMS:
        _call(builder, "tilezero", _BYTE(sums))
    rest = builder.srem(width, depth)
    whole = builder.sub(width, rest)
    with cgutils.for_range_slice(builder, width.type(0), whole, depth) as (start, _):
        add(_WHOLE, start)
    with builder.if_then(builder.icmp_signed(">", rest, width.type(0))):
        add(_REST, whole)
    for number, sums in enumerate(_SUMS):
        place = builder.gep(summed, [width.type(number * TILE_COLUMNS // 2)])
        _move(builder, "tilestored64", sums, place, 4 * TILE_COLUMNS)
    return summed


def _load(builder: Any, register: int, place: Any) -> None:
    _move(builder, "tileloadd64", register, place, 4 * TILE_DEPTH)


def _move(builder: Any, name: str, register: int, place: Any, stride: int) -> None:
    _call(builder, name, _BYTE(register), builder.bitcast(place, _BYTE.as_pointer()), _LONG(stride))


def _call(builder: Any, name: str, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)
