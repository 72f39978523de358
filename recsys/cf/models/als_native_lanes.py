"""Sixteen small symmetric systems at once, one in each lane of a vector.

Vectors lie in an array (rows, columns, 16): row i, column j of sixteen matrices side by side. Written as explicit
vectors because LLVM cannot prove that the operands of such loops do not overlap. A lane's bits do not depend on
what the other lanes hold, nor on rows and columns of the identity below its own.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from recsys.cf.models.als_native_tile import LANES, ONE, fused_multiply_add, load

_VECTOR_BYTES = 4 * LANES
_ROWS = 4  # sums that do not wait for one another


def _sum(rows: int, sign: int) -> Any:
    """Return an intrinsic for out[r] = (out[r] + sign sum over the depth of left[r, k] right[k]) factor.

    Its arguments are addresses and strides in bytes: out, between rows of out; left, between rows and between
    depths of left; right, between depths of right; the depth; the factor (an address, 0: none).
    """

    @intrinsic
    def lane_sum(_context, _out, _out_row, _left, _row, _depth, _right, _right_depth, _n, _factor):  # type: ignore[no-untyped-def]
        def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            _generate_sum(builder, arguments, rows, sign)
            return context.get_dummy_value()

        return types.void(*(types.intp,) * 9), generate

    return lane_sum


def _generate_sum(builder: Any, arguments: Any, rows: int, sign: int) -> None:
    out, out_row, left, left_row, left_depth, right, right_depth, depth, factor = arguments
    word, vector = depth.type, ir.VectorType(ir.FloatType(), LANES)
    zero, one = ir.Constant(word, 0), ir.Constant(word, 1)
    fma = fused_multiply_add(builder)
    outs = [out]
    for _ in range(rows - 1):
        outs.append(builder.add(outs[-1], out_row))
    first = [load(builder, address, vector) for address in outs]
    before = builder.block
    loop, done = builder.append_basic_block("lanes.loop"), builder.append_basic_block("lanes.done")
    builder.cbranch(builder.icmp_signed(">", depth, zero), loop, done)

    builder.position_at_end(loop)
    k, left_at, right_at = (builder.phi(word) for _ in range(3))
    sums, following, address = [builder.phi(vector) for _ in outs], [], left_at
    common = load(builder, right_at, vector)
    common = builder.fneg(common) if sign < 0 else common
    for row in range(rows):
        following.append(builder.call(fma, [load(builder, address, vector), common, sums[row]]))
        address = builder.add(address, left_row)
    for phi, start, step in ((k, zero, one), (left_at, left, left_depth), (right_at, right, right_depth)):
        phi.add_incoming(start, before)
        phi.add_incoming(builder.add(phi, step), loop)
    for row in range(rows):
        sums[row].add_incoming(first[row], before)
        sums[row].add_incoming(following[row], loop)
    builder.cbranch(builder.icmp_signed("<", builder.add(k, one), depth), loop, done)

    builder.position_at_end(done)
    totals = [builder.phi(vector) for _ in outs]
    for row in range(rows):
        totals[row].add_incoming(first[row], before)
        totals[row].add_incoming(following[row], loop)
    for row in range(rows):
        _store(builder, totals[row], outs[row])
    with builder.if_then(builder.icmp_signed("!=", factor, zero)):
        by = load(builder, factor, vector)
        for row in range(rows):
            _store(builder, builder.fmul(totals[row], by), outs[row])


@intrinsic
def _scale(_context, _out, _left, _right):  # type: ignore[no-untyped-def]
    """Multiply a vector by two others, all given by their addresses."""

    def generate(context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.FloatType(), LANES)
        out, left, right = (load(builder, address, vector) for address in arguments)
        _store(builder, builder.fmul(out, builder.fmul(left, right)), arguments[0])
        return context.get_dummy_value()

    return types.void(*(types.intp,) * 3), generate


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=4)


_add_one, _subtract_one, _subtract_rows = _sum(1, 1), _sum(1, -1), _sum(_ROWS, -1)


@nb.njit(nogil=True, cache=True)
def add_products(sides: Any, products: Any, wanted: Any, n: Any) -> None:
    """Add V t to ``sides``; V, symmetric, is given on and below the diagonal of ``products``."""
    row_bytes, base = products.strides[0], products.ctypes.data
    for i in range(n):
        out = sides.ctypes.data + i * _VECTOR_BYTES
        row, column = base + i * row_bytes, base + (i + 1) * row_bytes + i * _VECTOR_BYTES
        at = wanted.ctypes.data
        _add_one(out, 0, row, 0, _VECTOR_BYTES, at, _VECTOR_BYTES, i + 1, 0)
        at += (i + 1) * _VECTOR_BYTES
        _add_one(out, 0, column, 0, row_bytes, at, _VECTOR_BYTES, n - 1 - i, 0)


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def solve_scaled(products: Any, roots: Any, right: Any, n: Any) -> None:
    """Replace row n of ``products``, b, by (I + s V s)^-1 b; V and then its Cholesky factor fill rows before.

    Args:
        products: (more than n, at least n, 16).
        roots: (n, 16), s.
        right: row n of ``products``.
        n: size of the systems.
    """
    row_bytes, base = products.strides[0], products.ctypes.data
    for i in range(n):
        root = roots.ctypes.data + i * _VECTOR_BYTES
        for j in range(i + 1):
            out, other = base + i * row_bytes + j * _VECTOR_BYTES, roots.ctypes.data + j * _VECTOR_BYTES
            _scale(out, root, other)  # type: ignore[call-arg]
        for lane in range(LANES):
            products[i, i, lane] += ONE
    for j in range(n):
        row = base + j * row_bytes
        diagonal = row + j * _VECTOR_BYTES
        _subtract_one(diagonal, 0, row, 0, _VECTOR_BYTES, row, _VECTOR_BYTES, j, 0)
        for lane in range(LANES):
            products[j, j, lane] = ONE / np.sqrt(products[j, j, lane])
        i = j + 1
        while i <= n:  # row n, the right side, is solved like any other
            left = base + i * row_bytes
            out = left + j * _VECTOR_BYTES
            if i + _ROWS <= n + 1:
                _subtract_rows(
                    out, row_bytes, left, row_bytes, _VECTOR_BYTES, row, _VECTOR_BYTES, j, diagonal
                )
                i += _ROWS
            else:
                _subtract_one(out, 0, left, 0, _VECTOR_BYTES, row, _VECTOR_BYTES, j, diagonal)
                i += 1
    for i in range(n - 1, -1, -1):
        out, column = right.ctypes.data + i * _VECTOR_BYTES, base + (i + 1) * row_bytes + i * _VECTOR_BYTES
        diagonal = base + i * row_bytes + i * _VECTOR_BYTES
        _subtract_one(out, 0, out + _VECTOR_BYTES, 0, _VECTOR_BYTES, column, row_bytes, n - 1 - i, diagonal)


def _plain_add_products(sides: Any, products: Any, wanted: Any, n: Any) -> None:
    for lane in range(LANES):
        below = np.tril(products[:n, :n, lane])
        sides[:n, lane] += (below + np.tril(below, -1).T) @ wanted[:n, lane]


def _plain_solve_scaled(products: Any, roots: Any, right: Any, n: Any) -> None:
    for lane in range(LANES):
        below, root = np.tril(products[:n, :n, lane]), roots[:n, lane]
        system = np.eye(n) + np.outer(root, root) * (below + np.tril(below, -1).T)
        right[:n, lane] = np.linalg.solve(system, right[:n, lane])


if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]  # interpreted code has no vectors
    add_products, solve_scaled = _plain_add_products, _plain_solve_scaled  # type: ignore[assignment]
