"""Exact solutions of all rows of one side of ALS, given the other side.

With the other side's factors B (rows b_j) and G = B^T B, row r minimises
    sum_j d_j (b_j . x)^2 - 2 x . sum_j t_j b_j + a x^T G x + l_r |x - m_r|^2
over its entries j: d = confidence - a, t = confidence * preference, a the weight of unobserved pairs, m_r the
prior mean. The sweep works in a basis T in which a G + l_r I is the identity (from the eigenvectors of G; per
row only a scaling is left where l_r differs). There, with P the rows sqrt(d_j) b_j T and y = sum_j t_j b_j T +
(the prior's part),
    x' = (I + P^T P)^-1 y              the primal system, factors x factors, for heavy rows
       = y - P^T (I + P P^T)^-1 P y    the dual system, entries x entries (Woodbury), for all others
Both are positive definite with eigenvalues of at least 1, which is why float32 is enough for them.
"""

from typing import Any

import numba as nb
import numpy as np

from recsys.cf.models.als_native_dual import LANE_VECTORS, solve_dual
from recsys.cf.models.als_native_primal import PANEL_ROWS, solve_primal
from recsys.cf.models.als_native_tile import LANES, ONE, ZERO, add_gram, aligned_empty, multiply
from recsys.cf.models.next_part import next_part


@nb.njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def gram_parts(workers: Any, taken: Any, factors: Any, bounds: Any, parts: Any) -> None:
    """Write the Gramian of each range of rows to ``parts``, float64: float32 sums of 128 rows, added up."""
    for _ in nb.prange(workers):
        _gram_parts(taken, factors, bounds, parts)


@nb.njit(nogil=True, error_model="numpy", cache=True)
def _gram_parts(taken: Any, factors: Any, bounds: Any, parts: Any) -> None:
    width = factors.shape[1]
    sums = aligned_empty(width, width)
    part = next_part(taken)
    while part < len(bounds) - 1:
        for first in range(bounds[part], bounds[part + 1], PANEL_ROWS):
            rows = min(PANEL_ROWS, bounds[part + 1] - first)
            sums[:] = ZERO
            add_gram(sums, factors[first : first + rows], rows)
            for i in range(width):
                for j in range(i, width):
                    parts[part, i, j] += sums[i, j]
        part = next_part(taken)


@nb.njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def multiply_ranges(workers: Any, taken: Any, out: Any, left: Any, right: Any, bounds: Any) -> None:
    """Write left @ right to ``out``, range of rows by range of rows."""
    for _ in nb.prange(workers):
        _multiply_ranges(taken, out, left, right, bounds)


@nb.njit(nogil=True, error_model="numpy", cache=True)
def _multiply_ranges(taken: Any, out: Any, left: Any, right: Any, bounds: Any) -> None:
    part = next_part(taken)
    while part < len(bounds) - 1:
        first, last = bounds[part], bounds[part + 1]
        multiply(out[first:last], left[first:last], right)
        part = next_part(taken)


@nb.njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def solve_ranges(
    workers: Any,
    taken: Any,
    indptr: Any,
    indices: Any,
    weights: Any,
    targets: Any,
    table: Any,
    back: Any,
    spectrum: Any,
    regularization: Any,
    rights: Any,
    means: Any,
    dual_entries: Any,
    order: Any,
    bounds: Any,
    out: Any,
    gains: Any,
    penalties: Any,
) -> None:
    """Solve every row with entries; the others become zero.

    Writes factors to ``out``, and of each row y . x' to ``gains`` and l_r |x - m_r|^2 to ``penalties``, which
    make the loss (float64: the losses of millions of rows are added up).

    Args:
        workers: threads at work, here as above; the result does not depend on them.
        taken: a fresh counter of ``next_part``.
        indptr, indices, weights, targets: the entries of each row, d and t of the module's formula.
        table: (n_other, width) the other side in the basis.
        back: (width, width) a row in the basis @ back = the row.
        spectrum: (width or 0,) eigenvalues of a G where the basis is not scaled yet, as l_r differ.
        regularization: (n_rows,) l_r.
        rights: (n_rows or 0, width) the prior's part of y, not scaled where the basis is not; none: zero.
        means: (n_rows or 0, width) m_r; none: zero.
        dual_entries: rows with so many entries at most are solved by the dual system.
        order: the rows of each range by their number of entries.
        bounds: ranges of rows of about equal work; the result does not depend on them.
    """
    for _ in nb.prange(workers):
        _solve_ranges(
            taken, indptr, indices, weights, targets, table, back, spectrum, regularization, rights, means,
            dual_entries, order, bounds, out, gains, penalties,
        )  # fmt: skip


@nb.njit(nogil=True, error_model="numpy", cache=True)
def _solve_ranges(
    taken: Any,
    indptr: Any,
    indices: Any,
    weights: Any,
    targets: Any,
    table: Any,
    back: Any,
    spectrum: Any,
    regularization: Any,
    rights: Any,
    means: Any,
    dual_entries: Any,
    order: Any,
    bounds: Any,
    out: Any,
    gains: Any,
    penalties: Any,
) -> None:
    width = table.shape[1]
    panel = aligned_empty(max(PANEL_ROWS, dual_entries), width)
    system, inverses = aligned_empty(width, width + LANES), np.empty(width, np.float32)
    lanes = np.empty((dual_entries + LANE_VECTORS, dual_entries, LANES), np.float32)
    scales, ys = aligned_empty(LANES, width), aligned_empty(LANES, width)
    part = next_part(taken)
    while part < len(bounds) - 1:
        first, last = bounds[part], bounds[part + 1]
        solved = aligned_empty(last - first, width)
        at = first
        while at < last:
            k = indptr[order[at] + 1] - indptr[order[at]]
            if k == 0:
                solved[order[at] - first] = ZERO
                at += 1
                continue
            here = 1
            if k <= dual_entries:
                while here < LANES and at + here < last:
                    more = indptr[order[at + here] + 1] - indptr[order[at + here]]
                    if more > dual_entries:
                        break
                    k = more
                    here += 1
            for lane in range(here):
                row = order[at + lane]
                _start_row(spectrum, regularization[row], rights, row, scales[lane], ys[lane])
            rows = order[at : at + here]
            if k <= dual_entries:
                solve_dual(
                    indptr, indices, weights, targets, table, rows, k, len(spectrum) > 0, len(rights) > 0,
                    panel, scales, ys, lanes, first, solved, gains,
                )  # fmt: skip
            else:
                solve_primal(
                    indptr, indices, weights, targets, table, rows[0], len(spectrum) > 0,
                    panel, scales[0], ys[0], system, inverses, solved[rows[0] - first], gains,
                )  # fmt: skip
            at += here
        multiply(out[first:last], solved, back)
        for row in range(first, last):
            if indptr[row] < indptr[row + 1]:
                penalties[row] = regularization[row] * _squared_distance(out[row], means, row)
        part = next_part(taken)


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _start_row(spectrum: Any, regularization: Any, rights: Any, row: Any, scale: Any, y: Any) -> None:
    """Write what the row scales the basis by, and the prior's part of y."""
    for f in range(len(spectrum)):
        scale[f] = ONE / np.sqrt(spectrum[f] + regularization)
    if len(rights) and len(spectrum):
        for f in range(len(y)):
            y[f] = rights[row, f] * scale[f]
    elif len(rights):
        for f in range(len(y)):
            y[f] = rights[row, f]
    else:
        for f in range(len(y)):
            y[f] = ZERO


@nb.njit(nogil=True, error_model="numpy", fastmath=True, cache=True)
def _squared_distance(x: Any, means: Any, row: Any) -> Any:
    total = ZERO
    if len(means):
        for f in range(len(x)):
            total += (x[f] - means[row, f]) ** 2
    else:
        for f in range(len(x)):
            total += x[f] * x[f]
    return total
