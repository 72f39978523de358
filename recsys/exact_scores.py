"""The score of a user and an item in one fixed order of float64 additions: the same bits on every machine.

A matrix product adds in an order that depends on BLAS, processor and shape, so its last bits do, too, and where two
items are nearly equal the order of a list would. Whatever found the best items, serving and batch lists are
ordered by this score instead. Products of two float32 numbers are exact in float64, hence it makes no difference
whether a processor fuses them with the additions; only the order of the additions counts, and that is fixed.
"""

import numpy as np
from numpy.typing import NDArray

from recsys.types import FloatMatrix

_UNIT_ROUNDOFF = 2.0**-24  # of float32
_SMALLEST_NORMAL = 2.0**-126  # of float32: what a product that underflows may lose


def exact_scores(user_factors: NDArray[np.float32], item_factors: FloatMatrix) -> NDArray[np.float32]:
    """Return U[u] . V[i] of one user and these items, float32: the products are added up from left to right in float64.

    Args:
        user_factors: float32 (factors,).
        item_factors: float32 (n, factors).
    """
    products = item_factors.astype(np.float64) * user_factors.astype(np.float64)
    # cumsum adds from left to right, sum does not; + 0.0 makes a negative zero positive
    sums = np.cumsum(products, axis=1)[:, -1] + 0.0
    return np.asarray(sums, dtype=np.float32)


def score_error(
    n_factors: int, user_norms: NDArray[np.float64], largest_item_norm: float
) -> NDArray[np.float64]:
    """Return how far a score from any float32 product is from the exact one at most, one bound per user.

    Args:
        n_factors: Length of the vectors.
        user_norms: Euclidean norms of the user vectors, float64.
        largest_item_norm: Largest Euclidean norm of an item vector.

    Notes:
        |fl(u . v) - u . v| <= gamma_n |u| |v| in any order of additions, gamma_n = n eps / (1 - n eps) (Higham,
        Accuracy and Stability of Numerical Algorithms, section 3.1), and Cauchy-Schwarz. Two roundoffs more
        cover the rounding to float32 of the exact score and of a bound made from this.
    """
    gamma = n_factors * _UNIT_ROUNDOFF / (1.0 - n_factors * _UNIT_ROUNDOFF)
    error = (gamma + 2 * _UNIT_ROUNDOFF) * largest_item_norm * user_norms
    return np.asarray(error + n_factors * _SMALLEST_NORMAL)


def row_norms(matrix: FloatMatrix, *, rows_at_a_time: int = 1 << 16) -> NDArray[np.float64]:
    """Return the Euclidean norm of each row, float64 (n,); memory for ``rows_at_a_time`` rows only."""
    norms = np.empty(len(matrix), dtype=np.float64)
    for start in range(0, len(matrix), rows_at_a_time):
        rows = matrix[start : start + rows_at_a_time].astype(np.float64)
        norms[start : start + rows_at_a_time] = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return norms
