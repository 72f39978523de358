"""Confidence in [1, 6] becomes the weights and preferences that ALS solves."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.config.schema import AlsConfig


def scale_confidence(confidence: csr_matrix, positives: csr_matrix, config: AlsConfig) -> csr_matrix:
    """Return the matrix `implicit` solves, a new float32 CSR: |value| is the weight, its sign the preference.

    Args:
        confidence: (n_users, n_items), values in [1, 6].
        positives: same shape, an entry for each train positive.
        config: ``confidence_strategy`` direct C = c, scaled C = 1 + alpha (c - 1) / 5, legacy
            C = 1 + alpha c; ``preference`` threshold makes disliked pairs negative (preference 0).
    """
    scaled = csr_matrix(confidence, dtype=np.float32, copy=True)
    scaled.sort_indices()  # `implicit` gives other bits for another order inside a row
    c = scaled.data
    if config.confidence_strategy == "scaled":
        scaled.data = 1.0 + np.float32(config.alpha) * (c - 1.0) / np.float32(5.0)
    elif config.confidence_strategy == "legacy":
        scaled.data = 1.0 + np.float32(config.alpha) * c
    if config.preference == "threshold":
        scaled.data[_disliked(confidence, positives, config.preference_threshold)] *= -1.0
    return scaled


def continuous_preferences(confidence: csr_matrix) -> NDArray[np.float32]:
    """Return p = (c - 1) / 5 in [0, 1], float32, for each value of what ``scale_confidence`` returns."""
    ordered = csr_matrix(confidence, dtype=np.float32, copy=True)
    ordered.sort_indices()
    return np.asarray((ordered.data - 1.0) / np.float32(5.0), dtype=np.float32)


def _disliked(confidence: csr_matrix, positives: csr_matrix, threshold: float | None) -> Any:
    ordered = csr_matrix(confidence, copy=True)
    ordered.sort_indices()
    if threshold is not None:
        return ordered.data < threshold
    rows = np.repeat(np.arange(ordered.shape[0]), np.diff(ordered.indptr))
    return np.asarray(positives[rows, ordered.indices]).ravel() == 0
