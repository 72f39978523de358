"""What both solvers of ALS do with the factors of an iteration: refuse divergence, normalise."""

from collections.abc import Sequence

import numpy as np

from recsys.config.schema import AlsConfig
from recsys.errors import DivergedError
from recsys.types import Factors, FloatMatrix, HistoryRow

_RISE_TOLERANCE = 1e-3  # both solvers lower the loss in every iteration but for rounding


_BLOCK_ROWS = 1 << 16
_ROUNDING = 1e-5  # of the terms that a loss is the small difference of


def refuse_divergence(
    history: Sequence[HistoryRow], row: HistoryRow, config: AlsConfig, largest_term: float = 0.0
) -> None:
    """Raise DivergedError when the loss of ``row``, the newest, rose or is not finite.

    ``largest_term``: of the sum that the loss was computed as; with next to no regularization it nearly cancels.
    """
    losses = [float(past["loss"] or 0.0) for past in (*history, row)]
    tolerance = _RISE_TOLERANCE * abs(losses[0]) + _ROUNDING * largest_term
    rising = len(losses) > 1 and losses[-1] > losses[-2] + tolerance
    if rising or not np.isfinite(losses[-1]):
        seen = ", ".join(f"{loss:.4g}" for loss in losses[-3:])
        raise DivergedError(
            f"ALS diverged in iteration {row['iteration']}: last losses {seen}; lower als.alpha "
            f"(now {config.alpha:g}) or raise als.regularization (now {config.regularization:g})"
        )


def normalized(factors: Factors) -> Factors:
    """Return the factors with rows of length 1; rows of zeros stay zero."""

    def rows(matrix: FloatMatrix) -> FloatMatrix:
        scaled = np.empty(matrix.shape, dtype=np.float32)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            block = matrix[start : start + _BLOCK_ROWS]
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            np.divide(block, np.where(norms > 0, norms, 1.0), out=scaled[start : start + _BLOCK_ROWS])
        return scaled

    return Factors(rows(factors.user_factors), rows(factors.item_factors))
