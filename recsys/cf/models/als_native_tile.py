"""Small matrix products in registers: the arithmetic of the exact ALS solver.

A tile of the result (8 rows by 32 columns, half of AVX-512's registers) stays in registers while the kernel
walks the depth of the product: a fused multiply-add per vector, its left operand broadcast from memory. Numba
vectorises inner loops but keeps no such tile, and a BLAS call costs more than these products (64 x 64 and
less). An element is summed over the depth in order, so its bits depend neither on the size of the tile nor on
the width of the vectors.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16  # floats of a vector; where registers are shorter LLVM takes several
TILE_ROWS = 8
_FLOAT_BYTES = 4
# Eight rows of two vectors need 18 of 32 long registers; half as many of the short ones hold six rows of one.
_WIDE = "avx512f" in binding.get_host_cpu_features()
_STORE, _ADD, _SUBTRACT = range(3)
_CACHE_LINE_FLOATS = 16
ONE, ZERO = np.float32(1.0), np.float32(0.0)


def _tile(rows: int, vectors: int, mode: int) -> Any:
    """Return an intrinsic for out (mode) sum over the depth of left[k, row] * right[k, column].

    Its arguments are addresses and strides in bytes: out, between rows of out; left, between depths of left,
    between rows of the tile in left; right, between depths of right; the depth.
    """

    @intrinsic
    def tile(_context, _out, _out_row, _left, _left_depth, _left_row, _right, _right_depth, _depth):  # type: ignore[no-untyped-def]
        def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            _generate_tile(builder, arguments, rows, vectors, mode)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 8), generate

    return tile


def _generate_tile(builder: Any, arguments: Any, rows: int, vectors: int, mode: int) -> None:
    out, out_row, left, left_depth, left_row, right, right_depth, depth = arguments
    word, scalar = depth.type, ir.FloatType()
    vector = ir.VectorType(scalar, LANES)
    zero, one = ir.Constant(word, 0), ir.Constant(word, 1)
    fma = fused_multiply_add(builder)
    before = builder.block
    loop, done = builder.append_basic_block("tile.loop"), builder.append_basic_block("tile.done")
    nothing = ir.Constant(vector, [ir.Constant(scalar, 0.0)] * LANES)
    cells = [(row, column) for row in range(rows) for column in range(vectors)]
    builder.cbranch(builder.icmp_signed(">", depth, zero), loop, done)

    builder.position_at_end(loop)
    k, left_at, right_at = (builder.phi(word) for _ in range(3))
    sums = {cell: builder.phi(vector) for cell in cells}
    rights = [
        load(builder, builder.add(right_at, ir.Constant(word, column * LANES * _FLOAT_BYTES)), vector)
        for column in range(vectors)
    ]
    following, address = {}, left_at
    for row in range(rows):
        value = _broadcast(builder, load(builder, address, scalar), vector)
        for column in range(vectors):
            following[row, column] = builder.call(fma, [value, rights[column], sums[row, column]])
        address = builder.add(address, left_row)
    steps = ((k, zero, one), (left_at, left, left_depth), (right_at, right, right_depth))
    for phi, start, step in steps:
        phi.add_incoming(start, before)
        phi.add_incoming(builder.add(phi, step), loop)
    for cell in cells:
        sums[cell].add_incoming(nothing, before)
        sums[cell].add_incoming(following[cell], loop)
    builder.cbranch(builder.icmp_signed("<", builder.add(k, one), depth), loop, done)

    builder.position_at_end(done)
    totals = {cell: builder.phi(vector) for cell in cells}
    for cell in cells:
        totals[cell].add_incoming(nothing, before)
        totals[cell].add_incoming(following[cell], loop)
    address = out
    for row in range(rows):
        for column in range(vectors):
            at = builder.add(address, ir.Constant(word, column * LANES * _FLOAT_BYTES))
            value = totals[row, column]
            if mode != _STORE:
                combine = builder.fadd if mode == _ADD else builder.fsub
                value = combine(load(builder, at, vector), value)
            builder.store(value, builder.inttoptr(at, vector.as_pointer()), align=_FLOAT_BYTES)
        address = builder.add(address, out_row)


def fused_multiply_add(builder: Any) -> Any:
    """Return LLVM's fma of vectors: rounded once, so that its bits are the same wherever it is used."""
    vector = ir.VectorType(ir.FloatType(), LANES)
    kind = ir.FunctionType(vector, [vector] * 3)
    name = f"llvm.fma.v{LANES}f32"
    return cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]


def load(builder: Any, address: Any, kind: Any) -> Any:
    """Return the value of a kind at an address (intp) that need not be aligned."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=_FLOAT_BYTES)


def _broadcast(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(
        single, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


_add_wide, _add_narrow = _tile(TILE_ROWS, 2, _ADD), _tile(TILE_ROWS, 1, _ADD)
_subtract_wide, _subtract_narrow = _tile(TILE_ROWS, 2, _SUBTRACT), _tile(TILE_ROWS, 1, _SUBTRACT)
_store_wide, _store_narrow = _tile(TILE_ROWS, 2, _STORE), _tile(TILE_ROWS, 1, _STORE)
_store_row = _tile(1, 1, _STORE)
_subtract_row_wide, _subtract_row = _tile(1, 4, _SUBTRACT), _tile(1, 1, _SUBTRACT)


@nb.njit(nogil=True, cache=True)
def add_gram(out: Any, panel: Any, depth: Any) -> None:
    """Add panel[:depth]^T panel[:depth] to ``out``, on and above its diagonal (and in parts below it)."""
    factors, row_bytes = panel.shape[1], panel.strides[0]
    source, target = panel.ctypes.data, out.ctypes.data
    for i in range(0, factors, TILE_ROWS):
        j = i // LANES * LANES
        while j < factors:
            at, right = target + i * out.strides[0] + j * _FLOAT_BYTES, source + j * _FLOAT_BYTES
            left = source + i * _FLOAT_BYTES
            if _WIDE and j + 2 * LANES <= factors:
                _add_wide(at, out.strides[0], left, row_bytes, _FLOAT_BYTES, right, row_bytes, depth)
                j += 2 * LANES
            else:
                _add_narrow(at, out.strides[0], left, row_bytes, _FLOAT_BYTES, right, row_bytes, depth)
                j += LANES


@nb.njit(nogil=True, cache=True)
def subtract_block_above(triangle: Any, first: Any, columns: Any) -> None:
    """Subtract from rows first to first + 8 of a growing R what the rows above them add to R^T R.

    Columns before ``first`` may be overwritten, down to a multiple of 16.
    """
    row_bytes, base = triangle.strides[0], triangle.ctypes.data
    left, row = base + first * _FLOAT_BYTES, base + first * row_bytes
    j = first // LANES * LANES
    while j < columns:
        at, right = row + j * _FLOAT_BYTES, base + j * _FLOAT_BYTES
        if _WIDE and j + 2 * LANES <= columns:
            _subtract_wide(at, row_bytes, left, row_bytes, _FLOAT_BYTES, right, row_bytes, first)
            j += 2 * LANES
        else:
            _subtract_narrow(at, row_bytes, left, row_bytes, _FLOAT_BYTES, right, row_bytes, first)
            j += LANES


@nb.njit(nogil=True, cache=True)
def subtract_rows_above(triangle: Any, first: Any, row: Any, columns: Any) -> None:
    """The same for one row and what rows from ``first`` to it add."""
    row_bytes, base = triangle.strides[0], triangle.ctypes.data
    above, at = base + first * row_bytes, base + row * row_bytes
    left = above + row * _FLOAT_BYTES
    j = row // LANES * LANES
    while j < columns:
        to, right = at + j * _FLOAT_BYTES, above + j * _FLOAT_BYTES
        if _WIDE and j + 4 * LANES <= columns:
            _subtract_row_wide(to, 0, left, row_bytes, 0, right, row_bytes, row - first)
            j += 4 * LANES
        else:
            _subtract_row(to, 0, left, row_bytes, 0, right, row_bytes, row - first)
            j += LANES


@nb.njit(nogil=True, cache=True)
def multiply(out: Any, left: Any, right: Any) -> None:
    """Write left @ right to ``out``; all float32 in C order, the columns of ``right`` a multiple of 16."""
    n, factors, depth = left.shape[0], right.shape[1], right.shape[0]
    left_bytes, right_bytes, out_bytes = left.strides[0], right.strides[0], out.strides[0]
    whole = n // TILE_ROWS * TILE_ROWS
    for i in range(0, whole, TILE_ROWS):
        at, source = out.ctypes.data + i * out_bytes, left.ctypes.data + i * left_bytes
        j = 0
        while j < factors:
            to, other = at + j * _FLOAT_BYTES, right.ctypes.data + j * _FLOAT_BYTES
            if _WIDE and j + 2 * LANES <= factors:
                _store_wide(to, out_bytes, source, _FLOAT_BYTES, left_bytes, other, right_bytes, depth)
                j += 2 * LANES
            else:
                _store_narrow(to, out_bytes, source, _FLOAT_BYTES, left_bytes, other, right_bytes, depth)
                j += LANES
    for i in range(whole, n):
        at, source = out.ctypes.data + i * out_bytes, left.ctypes.data + i * left_bytes
        for j in range(0, factors, LANES):
            to, other = at + j * _FLOAT_BYTES, right.ctypes.data + j * _FLOAT_BYTES
            _store_row(to, out_bytes, source, _FLOAT_BYTES, left_bytes, other, right_bytes, depth)


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def dot(a: Any, b: Any) -> Any:
    """Return the product of two float32 vectors, float32."""
    total = ZERO
    for f in range(len(a)):
        total += a[f] * b[f]
    return total


@nb.njit(nogil=True, cache=True)
def aligned_empty(rows: Any, columns: Any) -> Any:
    """Return an uninitialised float32 matrix that starts with a cache line."""
    buffer = np.empty(rows * columns + _CACHE_LINE_FLOATS, np.float32)
    offset = (-buffer.ctypes.data) % (4 * _CACHE_LINE_FLOATS) // 4
    return buffer[offset : offset + rows * columns].reshape(rows, columns)


def _plain_add_gram(out: Any, panel: Any, depth: Any) -> None:
    out[:, : panel.shape[1]] += panel[:depth].T @ panel[:depth]


def _plain_subtract_block_above(triangle: Any, first: Any, columns: Any) -> None:
    rows = slice(first, first + TILE_ROWS)
    triangle[rows, first:columns] -= triangle[:first, rows].T @ triangle[:first, first:columns]


def _plain_subtract_rows_above(triangle: Any, first: Any, row: Any, columns: Any) -> None:
    triangle[row, row:columns] -= triangle[first:row, row] @ triangle[first:row, row:columns]


def _plain_multiply(out: Any, left: Any, right: Any) -> None:
    np.matmul(left, right, out=out)


if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]  # interpreted code has no registers to hold a tile in
    add_gram, multiply = _plain_add_gram, _plain_multiply  # type: ignore[assignment]
    subtract_block_above = _plain_subtract_block_above  # type: ignore[assignment]
    subtract_rows_above = _plain_subtract_rows_above  # type: ignore[assignment]
