"""Rows of many entries, by the primal system of ``als_native_kernel``: blocked updates, then Cholesky."""

from typing import Any

import numba as nb
import numpy as np

from recsys.cf.models.als_native_tile import (
    LANES,
    ONE,
    TILE_ROWS,
    ZERO,
    add_gram,
    dot,
    subtract_block_above,
    subtract_rows_above,
)
from recsys.cf.models.prefetch import prefetch_row_to_read

PANEL_ROWS = 128  # rows gathered at a time: 32 kB at 64 factors, what the first level of cache holds
_PREFETCH_AHEAD = 16  # entries


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def solve_primal(
    indptr: Any,
    indices: Any,
    weights: Any,
    targets: Any,
    table: Any,
    row: Any,
    scaled: Any,
    panel: Any,
    scale: Any,
    y: Any,
    system: Any,
    inverses: Any,
    x: Any,
    gains: Any,
) -> None:
    """Solve one row of many entries: rank-128 updates of its system, then Cholesky."""
    width, end = table.shape[1], indptr[row + 1]
    for i in range(width):
        for f in range(i // LANES * LANES, width + LANES):
            system[i, f] = ZERO
        system[i, i] = ONE
    for begin in range(indptr[row], end, PANEL_ROWS):
        stop = min(begin + PANEL_ROWS, end)
        _gather(table, indices, weights, targets, begin, stop, scale, scaled, panel, y)
        add_gram(system, panel, stop - begin)
    for f in range(width):
        system[f, width] = y[f]
    _cholesky(system, inverses, width)
    _solve_upper(system, inverses, width, x)
    gains[row] = dot(x, y)
    if scaled:
        for f in range(width):
            x[f] *= scale[f]


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _gather(
    table: Any,
    indices: Any,
    weights: Any,
    targets: Any,
    start: Any,
    end: Any,
    scale: Any,
    scaled: Any,
    panel: Any,
    y: Any,
) -> None:
    """Copy sqrt(d) times the rows of the entries into the panel; add t times the rows to y."""
    width = table.shape[1]
    for at in range(start, end):
        if at + _PREFETCH_AHEAD < len(indices):
            prefetch_row_to_read(table, np.int64(indices[at + _PREFETCH_AHEAD]))
        source, target = table[indices[at]], panel[at - start]
        root, weight = np.sqrt(weights[at]), targets[at]
        if scaled:
            for f in range(width):
                value = source[f] * scale[f]
                y[f] += weight * value
                target[f] = root * value
        else:
            for f in range(width):
                value = source[f]
                y[f] += weight * value
                target[f] = root * value


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _cholesky(system: Any, inverses: Any, n: Any) -> None:
    """Replace A, given on and above the diagonal, by R with R^T R = A, and column n, b, by R^-T b.

    ``inverses`` gets 1 / R[i, i]. 16 divides n.
    """
    columns = n + LANES
    for first in range(0, n, TILE_ROWS):
        subtract_block_above(system, first, columns)
        for i in range(first, first + TILE_ROWS):
            subtract_rows_above(system, first, i, columns)
            inverse = ONE / np.sqrt(system[i, i])
            inverses[i] = inverse
            for c in range(i // LANES * LANES, columns):
                system[i, c] *= inverse


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _solve_upper(system: Any, inverses: Any, n: Any, x: Any) -> None:
    """Write R^-1 b to x, b in column n: eight rows at a time, whose products do not wait for one another."""
    for first in range(n - TILE_ROWS, -1, -TILE_ROWS):
        after = first + TILE_ROWS
        for i in range(first, after):
            total = system[i, n]
            for c in range(after, n):
                total -= system[i, c] * x[c]
            x[i] = total
        for i in range(after - 1, first - 1, -1):
            total = x[i]
            for c in range(i + 1, after):
                total -= system[i, c] * x[c]
            x[i] = total * inverses[i]
