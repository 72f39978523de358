"""The exact training loss of implicit ALS without the dense matrix."""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.types import Factors, FloatMatrix

_BLOCK_ROWS = 1 << 15


Weights = NDArray[np.floating[Any]]


def als_loss(
    user_items: csr_matrix, factors: Factors, regularization: float | tuple[Weights, Weights]
) -> float:
    """Return sum over all pairs of c (p - u.v)^2 plus regularization (|U|^2 + |V|^2), float64.

    ``regularization``: of all rows, or one for each user and one for each item.

    Unobserved pairs have c = 1 and p = 0; observed ones c = |value| and p = 1 where the value is positive
    (Hu, Koren and Volinsky 2008, equation 3). The sum over all pairs of (u.v)^2 is the trace of
    (U^T U)(V^T V), so the cost is O(nnz f + (n_users + n_items) f^2). Deterministic at any number of threads.
    """
    U, V = factors.user_factors, factors.item_factors
    row_losses = np.empty(len(U))
    _observed(user_items.indptr, user_items.indices, user_items.data, U, V, row_losses)
    of_users, of_items = regularization if isinstance(regularization, tuple) else (None, None)
    (gram_of_users, users), (gram_of_items, items) = _squares(U, of_users), _squares(V, of_items)
    everywhere = float(np.sum(gram_of_users * gram_of_items))
    penalty = users + items
    if not isinstance(regularization, tuple):
        penalty *= regularization
    return float(row_losses.sum()) + everywhere + penalty


def _squares(matrix: FloatMatrix, weights: Weights | None) -> tuple[NDArray[np.float64], float]:
    """Return M^T M and the weighted sum of its squares, float64, added up over blocks of rows: bounded memory."""
    gram, total = np.zeros((matrix.shape[1], matrix.shape[1])), 0.0
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS].astype(np.float64)
        gram += block.T @ block
        if weights is None:
            total += float(np.sum(block**2))
        else:
            rows = weights[start : start + _BLOCK_ROWS].astype(np.float64)
            total += float(rows @ np.sum(block**2, axis=1))
    return gram, total


@nb.njit(parallel=True, nogil=True, cache=True)
def _observed(indptr: Any, indices: Any, data: Any, U: Any, V: Any, row_losses: Any) -> None:
    """Per row: what observed pairs add to what they would count as unobserved ones."""
    for u in nb.prange(len(U)):
        total = 0.0
        for at in range(indptr[u], indptr[u + 1]):
            score = 0.0
            for f in range(U.shape[1]):
                score += np.float64(U[u, f]) * np.float64(V[indices[at], f])
            value = data[at]
            wanted = 1.0 if value > 0 else 0.0
            total += abs(value) * (wanted - score) ** 2 - score**2
        row_losses[u] = total
