"""One half-sweep of exact ALS: all rows of one side solved, given the other side."""

from dataclasses import dataclass

import numba as nb
import numpy as np
from numpy.typing import NDArray

from recsys.cf.models.als_native_kernel import gram_parts, multiply_ranges, solve_ranges
from recsys.cf.models.als_native_tile import LANES, aligned_empty
from recsys.cf.models.als_objective import Side, dual_limit, equal_ranges
from recsys.cf.models.next_part import no_part_taken
from recsys.types import FloatMatrix

_GRAM_PARTS = 16  # a constant, so that threads do not change the order of the sums
_ROW_PARTS = 64
_SMALLEST_EIGENVALUE = 1e-7  # of the largest: below it, eigenvalues of a float32 Gramian are noise


@dataclass(frozen=True)
class HalfSweep:
    """What a half-sweep tells about the loss, float64 sums over its rows.

    ``gain``: by how much the rows lower the loss below what zero rows would cost. ``penalty``: their l_r |x - m_r|^2.
    """

    gain: float
    penalty: float


def padded(matrix: FloatMatrix) -> FloatMatrix:
    """Return a copy with columns of zeros up to a multiple of 16, starting with a cache line."""
    rows, factors = matrix.shape
    copy: FloatMatrix = aligned_empty(rows, -(-factors // LANES) * LANES)
    copy[:, :factors] = matrix
    copy[:, factors:] = 0.0
    return copy


def solve_side(
    side: Side,
    other: FloatMatrix,
    out: FloatMatrix,
    *,
    factors: int,
    unobserved_weight: float,
    means: FloatMatrix | None = None,
    dual_entries: int | None = None,
) -> HalfSweep:
    """Write the exact solution of every row to ``out``; rows without entries become zero.

    Args:
        side: the rows to solve.
        other: padded factors of the other side; rows without entries are zero.
        out: (n_rows, padded width), written.
        factors: columns that are not padding.
        unobserved_weight: a in the objective.
        means: padded prior means of the rows, None: zero.
        dual_entries: rows with so many entries at most are solved by the dual system; None: what is fastest.

    Returns what the rows mean for the loss. Deterministic at any number of threads. Cost at n entries:
    O(n f^2) for heavy rows, O(sum k^2 f) for rows of k entries, O(rows f^2) for the basis.
    """
    gram = _gram(other)
    if not np.isfinite(gram).all():  # the caller's check of the loss says what to do
        return HalfSweep(np.nan, np.nan)
    spectrum, vectors = _eigen(gram, factors, unobserved_weight)
    regularization = float(side.regularization[0]) if side.n_rows else 1.0
    basis, per_row = vectors, spectrum
    if side.is_uniform:
        basis, per_row = vectors / np.sqrt(spectrum + regularization), np.zeros(0)
    basis32 = np.ascontiguousarray(basis, dtype=np.float32)
    width = other.shape[1]
    table: FloatMatrix = aligned_empty(len(other), width)
    multiply_ranges(
        nb.get_num_threads(), no_part_taken(), table, other, basis32, equal_ranges(len(other), _ROW_PARTS)
    )
    gains, penalties = np.zeros(side.n_rows), np.zeros(side.n_rows)
    solve_ranges(
        nb.get_num_threads(),
        no_part_taken(),
        side.indptr,
        side.indices,
        side.weights,
        side.targets,
        table,
        np.ascontiguousarray(basis32.T),
        per_row.astype(np.float32),
        side.regularization,
        _prior_part(side, means, basis32),
        np.zeros((0, width), np.float32) if means is None else means,
        dual_limit(factors) if dual_entries is None else dual_entries,
        side.order,
        side.bounds,
        out,
        gains,
        penalties,
    )
    return HalfSweep(float(gains.sum()), float(penalties.sum()))


def _prior_part(side: Side, means: FloatMatrix | None, basis: FloatMatrix) -> FloatMatrix:
    """Return l_r m_r in the basis, (n_rows, width); no rows without a prior."""
    if means is None:
        return np.zeros((0, len(basis)), np.float32)
    rights: FloatMatrix = aligned_empty(*means.shape)
    multiply_ranges(
        nb.get_num_threads(), no_part_taken(), rights, means, basis, equal_ranges(len(means), _ROW_PARTS)
    )
    rights *= side.regularization[:, None]
    return rights


def _gram(other: FloatMatrix) -> NDArray[np.float64]:
    """Return B^T B on and above the diagonal, (width, width) float64."""
    width = other.shape[1]
    parts = np.zeros((_GRAM_PARTS, width, width))
    gram_parts(nb.get_num_threads(), no_part_taken(), other, equal_ranges(len(other), _GRAM_PARTS), parts)
    total: NDArray[np.float64] = parts.sum(axis=0)
    return total


def _eigen(
    gram: NDArray[np.float64], factors: int, unobserved_weight: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return eigenvalues (width,) and vectors (width, width) of a B^T B, float64; padding has zero vectors.

    In float64 because the basis divides by the roots of eigenvalues that span the whole range of float32.
    """
    width = len(gram)
    values, vectors = np.linalg.eigh(gram[:factors, :factors], UPLO="U")
    spectrum, basis = np.ones(width), np.zeros((width, width))
    spectrum[:factors] = unobserved_weight * np.maximum(values, _SMALLEST_EIGENVALUE * values[-1])
    basis[:factors, :factors] = vectors
    return spectrum, basis
