"""Both parts of the hybrid's items in one matrix, where there is no torch: what a sharded fit serves."""

import numpy as np

from recsys.blas import one_blas_thread
from recsys.config.schema import HybridConfig
from recsys.types import FloatMatrix

_ROWS_AT_A_TIME = 65_536


def fold_items(
    items: FloatMatrix, content: FloatMatrix, projection: FloatMatrix, config: HybridConfig
) -> FloatMatrix:
    """Return cf_weight items + content_weight content @ projection, float32 (n_items, factors).

    Args:
        items: float32 (n_items, factors).
        content: float32 (n_items, d), see ``content_matrix``; both may be mapped from files.
        projection: float32 (d, factors).
        config: the weights.

    Deterministic: by one thread, the same blocks of rows always.
    """
    folded = np.empty(items.shape, dtype=np.float32)
    with one_blas_thread():
        for start in range(0, len(items), _ROWS_AT_A_TIME):
            block = slice(start, start + _ROWS_AT_A_TIME)
            folded[block] = content[block] @ projection
            folded[block] *= np.float32(config.content_weight)
            folded[block] += np.float32(config.cf_weight) * items[block]
    return folded
