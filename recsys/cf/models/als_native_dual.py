"""Rows of few entries, by the dual system of ``als_native_kernel``: sixteen rows in the lanes of one Cholesky."""

from typing import Any

import numba as nb
import numpy as np

from recsys.cf.models.als_native_lanes import add_products, solve_scaled
from recsys.cf.models.als_native_tile import LANES, ZERO, dot
from recsys.cf.models.prefetch import prefetch_row_to_read

LANE_VECTORS = 5  # beside the products: solutions, roots, targets, right sides, the prior's part of gains
_PREFETCH_AHEAD = 16  # entries


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def solve_dual(
    indptr: Any,
    indices: Any,
    weights: Any,
    targets: Any,
    table: Any,
    rows: Any,
    n: Any,
    scaled: Any,
    prior: Any,
    panel: Any,
    scales: Any,
    ys: Any,
    lanes: Any,
    first: Any,
    solved: Any,
    gains: Any,
) -> None:
    """Solve up to sixteen rows of at most n entries, each in a lane of the vectors of one Cholesky.

    With V the products of a row's table rows, s the roots of d and t the targets: (I + s V s) w = s (V t), and
    the solution is a sum of table rows with weights t - s w. Empty places of a lane are zero and change nothing.
    """
    width = table.shape[1]
    products, w, roots, wanted, sides = lanes, lanes[n], lanes[n + 1], lanes[n + 2], lanes[n + 3]
    for lane in range(LANES):
        k = 0
        if lane < len(rows):
            start, k = indptr[rows[lane]], indptr[rows[lane] + 1] - indptr[rows[lane]]
            _copy_rows(table, indices, start, k, scales[lane], scaled, panel)
            _write_products(panel, k, products, lane)
            for i in range(k):
                roots[i, lane], wanted[i, lane] = np.sqrt(weights[start + i]), targets[start + i]
                sides[i, lane] = dot(panel[i], ys[lane]) if prior else ZERO
        for i in range(k, n):
            roots[i, lane], wanted[i, lane], sides[i, lane] = ZERO, ZERO, ZERO
            for j in range(i + 1):
                products[i, j, lane] = ZERO
    prior_parts = lanes[n + 4]
    for i in range(n):
        for lane in range(LANES):
            prior_parts[i, lane] = wanted[i, lane] * sides[i, lane]
    add_products(sides, products, wanted, n)
    for i in range(n):
        for lane in range(LANES):
            w[i, lane] = roots[i, lane] * sides[i, lane]
    solve_scaled(products, roots, w, n)
    for lane in range(len(rows)):
        row = rows[lane]
        start, k = indptr[row], indptr[row + 1] - indptr[row]
        x, y, scale = solved[row - first], ys[lane], scales[lane]
        gain = dot(y, y) if prior else ZERO
        for i in range(k):
            w[i, lane] = wanted[i, lane] - roots[i, lane] * w[i, lane]
            gain += w[i, lane] * sides[i, lane] + prior_parts[i, lane]
        gains[row] = gain
        _sum_rows(table, indices, start, k, w, lane, x)
        if scaled:
            for f in range(width):
                x[f] = scale[f] * (scale[f] * x[f] + y[f])
        elif prior:
            for f in range(width):
                x[f] += y[f]


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _copy_rows(table: Any, indices: Any, start: Any, k: Any, scale: Any, scaled: Any, panel: Any) -> None:
    """Copy the table rows of a row's entries to the panel, scaled if need be."""
    for i in range(k):
        if start + i + _PREFETCH_AHEAD < len(indices):
            prefetch_row_to_read(table, np.int64(indices[start + i + _PREFETCH_AHEAD]))
        source, target = table[indices[start + i]], panel[i]
        if scaled:
            for f in range(len(source)):
                target[f] = source[f] * scale[f]
        else:
            for f in range(len(source)):
                target[f] = source[f]


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _write_products(panel: Any, k: Any, products: Any, lane: Any) -> None:
    """Write the product of every two of the first k panel rows to a lane, on and below the diagonal."""
    width = panel.shape[1]
    for i in range(k):
        a = panel[i]
        j = 0
        while j + 4 <= i + 1:
            b, c, d, e = panel[j], panel[j + 1], panel[j + 2], panel[j + 3]
            p, q, r, s = ZERO, ZERO, ZERO, ZERO
            for f in range(width):
                p += a[f] * b[f]
                q += a[f] * c[f]
                r += a[f] * d[f]
                s += a[f] * e[f]
            products[i, j, lane], products[i, j + 1, lane] = p, q
            products[i, j + 2, lane], products[i, j + 3, lane] = r, s
            j += 4
        while j <= i:
            products[i, j, lane] = dot(a, panel[j])
            j += 1


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _sum_rows(table: Any, indices: Any, start: Any, k: Any, z: Any, lane: Any, x: Any) -> None:
    """Write the sum of the table rows of a row's entries, weighted by a lane of z."""
    for f in range(len(x)):
        x[f] = ZERO
    for i in range(k):
        source, value = table[indices[start + i]], z[i, lane]
        for f in range(len(x)):
            x[f] += value * source[f]
