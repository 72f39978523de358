"""Parts of a work handed to whichever thread is free, for compiled kernels; Numba shares loops out in advance.

A thread that is kept waiting by other work on the machine then holds nobody up but for its last part.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray


def no_part_taken() -> NDArray[np.int64]:
    """Return the counter that ``next_part`` counts with."""
    return np.zeros(1, np.int64)


@intrinsic
def _add_one(_context, _address):  # type: ignore[no-untyped-def]
    """Add 1 to the int64 at an address, atomically, and return what was there."""

    def generate(_context, builder, _signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], word.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(word, 1), "monotonic")

    return types.int64(types.intp), generate


@nb.njit(nogil=True, cache=True)
def next_part(taken: Any) -> Any:
    """Return the number of a part that no other thread has taken: 0, 1, 2, ..., beyond the last one, too."""
    return _add_one(taken.ctypes.data)  # type: ignore[call-arg]


def _plain_next_part(taken: Any) -> Any:
    taken[0] += 1
    return taken[0] - 1


if nb.config.DISABLE_JIT:  # type: ignore[attr-defined]
    next_part = _plain_next_part  # type: ignore[assignment]
