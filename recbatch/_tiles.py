"""Products of bytes by the matrix unit of newer Intel processors (AMX), 16 rows by 32 candidates, as LLVM code.

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
from recbatch._compiling import TILE_COLUMNS, TILE_DEPTH, TILE_ROWS

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
def byte_products(context: Any, queries: Any, group: Any, panels: Any, panel: Any, scores: Any, column: Any) -> Any:
    """As `_vectors.byte_products`, where both sides stand register by register; see `index._rounded`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        left, _, _ = llvm.sheet_of(context, builder, kinds[0], arguments[0], arguments[1])
        right, width, _ = llvm.sheet_of(context, builder, kinds[2], arguments[2], arguments[3])
        out, apart = llvm.row_of(context, builder, kinds[4], arguments[4], llvm.INT(0))
        depth, stride = width.type(TILE_DEPTH), _LONG(4 * TILE_DEPTH)
        halves = right, builder.gep(right, [builder.mul(width, width.type(TILE_COLUMNS // 2))])

        def add(registers: tuple[int, int, int], start: Any) -> None:
            some = builder.gep(left, [builder.mul(start, width.type(TILE_ROWS))])
            below = [builder.gep(half, [builder.mul(start, width.type(TILE_COLUMNS // 2))]) for half in halves]
            _add(builder, "tdpbsud", registers, (some, *below), stride, stride)

        rest = builder.srem(width, depth)
        whole = builder.sub(width, rest)
        _begin(builder)
        with cgutils.for_range_slice(builder, width.type(0), whole, depth) as (start, _):
            add(_WHOLE, start)
        with builder.if_then(builder.icmp_signed(">", rest, width.type(0))):
            add(_REST, whole)
        _store(builder, builder.gep(out, [arguments[5]]), builder.mul(apart, apart.type(4)))
        return context.get_dummy_value()

    return llvm.in_rows(types.void(queries, group, panels, panel, scores, column)), generate


@intrinsic  # type: ignore[untyped-decorator]
def byte_sums(context: Any, events: Any, panels: Any, panel: Any, first: Any, end: Any, sums: Any, part: Any) -> Any:
    """sums[part, e, c] = Σ over the words from `first` to `end` of events[0, e, i] · panels[panel, i, c].

    Of 16 events and 32 candidates; all bytes are signed, the words whole registers.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds, (panel, low, high, part) = signature.args, (arguments[i] for i in (2, 3, 4, 6))
        left, _, words = llvm.sheet_of(context, builder, kinds[0], arguments[0], part.type(0))
        right, _, columns = llvm.sheet_of(context, builder, kinds[1], arguments[1], panel)
        out, _, _ = llvm.sheet_of(context, builder, kinds[5], arguments[5], part)
        stride = builder.mul(words, words.type(4))
        _begin(builder)
        with cgutils.for_range_slice(builder, low, high, low.type(TILE_DEPTH)) as (start, _):
            below = builder.gep(right, [builder.mul(start, columns)])
            halves = below, builder.gep(below, [columns.type(TILE_COLUMNS // 2)])
            _add(builder, "tdpbssd", _WHOLE, (builder.gep(left, [start]), *halves), stride, _LONG(4 * TILE_COLUMNS))
        _store(builder, out, _LONG(4 * TILE_COLUMNS))
        return context.get_dummy_value()

    return llvm.in_rows(types.void(events, panels, panel, first, end, sums, part)), generate


def _begin(builder: Any) -> None:
    for sums in _SUMS:
        _call(builder, "tilezero", _BYTE(sums))


def _add(
    builder: Any, product: str, registers: tuple[int, int, int], places: tuple[Any, ...], stride: Any, below: Any
) -> None:
    """Adds the products of what stands at the first place to the sums with what stands at the others.

    Rows at the first lie `stride` bytes apart, at the others `below`.
    """
    for register, place, apart in zip(registers, places, (stride, below, below), strict=True):
        _move(builder, "tileloadd64", register, place, apart)
    for sums, half in zip(_SUMS, registers[1:], strict=True):
        _call(builder, product, _BYTE(sums), _BYTE(registers[0]), _BYTE(half))


def _store(builder: Any, summed: Any, stride: Any) -> None:
    for number, sums in enumerate(_SUMS):
        place = builder.gep(summed, [_LONG(number * TILE_COLUMNS // 2)])
        _move(builder, "tilestored64", sums, place, stride)


def _move(builder: Any, name: str, register: int, place: Any, stride: Any) -> None:
    _call(builder, name, _BYTE(register), builder.bitcast(place, _BYTE.as_pointer()), stride)


def _call(builder: Any, name: str, *arguments: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)
