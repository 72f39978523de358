"""The processor's prefetch instruction for compiled kernels, which Numba does not offer by itself."""

from typing import Any

import numba as nb
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_CACHE_LINE_BYTES = 64
_READ, _WRITE, _KEEP, _DATA = 0, 1, 3, 1  # arguments of llvm.prefetch


def _line_hint(purpose: int) -> Any:
    """Return an intrinsic that asks for the cache line at an address (intp). A hint: any address is safe."""

    @intrinsic
    def hint_line(_context, _address):  # type: ignore[no-untyped-def]
        def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
            pointer_type = ir.IntType(8).as_pointer()
            hint = ir.IntType(32)
            function_type = ir.FunctionType(ir.VoidType(), [pointer_type, hint, hint, hint])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer_type], function_type)
            pointer = builder.inttoptr(arguments[0], pointer_type)
            builder.call(function, [pointer, hint(purpose), hint(_KEEP), hint(_DATA)])
            return _context.get_dummy_value()

        return types.void(types.intp), generate

    return hint_line


_prefetch_line, _prefetch_line_to_read = _line_hint(_WRITE), _line_hint(_READ)


@nb.njit(inline="always", cache=True)
def prefetch_row(matrix: Any, row: Any) -> None:
    """Ask for one row of a C-contiguous float32 matrix, whole, to be written soon."""
    address = matrix.ctypes.data + row * matrix.strides[0]
    for offset in range(0, matrix.strides[0], _CACHE_LINE_BYTES):
        _prefetch_line(address + offset)


@nb.njit(inline="always", cache=True)
def prefetch_row_to_read(matrix: Any, row: Any) -> None:
    """Ask for one row of a C-contiguous float32 matrix, whole; it stays shared between cores."""
    address = matrix.ctypes.data + row * matrix.strides[0]
    for offset in range(0, matrix.strides[0], _CACHE_LINE_BYTES):
        _prefetch_line_to_read(address + offset)


def _no_hint(_matrix: Any, _row: Any) -> None:
    """Stand in for the hints in interpreted code, which has no use for them."""


if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]
    prefetch_row = prefetch_row_to_read = _no_hint  # type: ignore[assignment]
