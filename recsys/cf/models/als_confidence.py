"""Confidence in [1, 6] becomes the weights and preferences that ALS solves."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.npz import writable_view
from recsys.config.schema import AlsConfig

_BLOCK_ENTRIES = 1 << 20


def scale_confidence(confidence: csr_matrix, positives: csr_matrix, config: AlsConfig) -> csr_matrix:
    """Return the matrix `implicit` solves, float32 CSR: |value| is the weight, its sign the preference.

    Only the values are new: sorted indices are those of ``confidence``, never to be written to.

    Args:
        confidence: (n_users, n_items), values in [1, 6].
        positives: same shape, an entry for each train positive.
        config: ``confidence_strategy`` direct C = c, scaled C = 1 + alpha (c - 1) / 5, legacy
            C = 1 + alpha c; ``preference`` threshold makes disliked pairs negative (preference 0).
    """
    ordered = _ordered(confidence)
    c = ordered.data.astype(np.float32)
    disliked = None
    if config.preference == "threshold":
        disliked = _disliked(ordered, positives, config.preference_threshold)
    scale_values(c, disliked, config)
    # `implicit` refuses read-only arrays, though it writes to none of them
    structure = (writable_view(ordered.indices), writable_view(ordered.indptr))
    return csr_matrix((c, *structure), shape=confidence.shape, copy=False)


def scale_values(c: NDArray[np.float32], disliked: NDArray[np.bool_] | None, config: AlsConfig) -> None:
    """Turn confidences in [1, 6] into the values of ``scale_confidence``, in place."""
    # step by step in one array: at millions of interactions each temporary counts
    if config.confidence_strategy == "scaled":
        c -= np.float32(1.0)
        c *= np.float32(config.alpha)
        c /= np.float32(5.0)
        c += np.float32(1.0)
    elif config.confidence_strategy == "legacy":
        c *= np.float32(config.alpha)
        c += np.float32(1.0)
    if disliked is not None:
        np.negative(c, out=c, where=disliked)


def continuous_preferences(confidence: csr_matrix) -> NDArray[np.float32]:
    """Return p = (c - 1) / 5 in [0, 1], float32, for each value of what ``scale_confidence`` returns."""
    preferences = _ordered(confidence).data.astype(np.float32)
    preferences -= np.float32(1.0)
    preferences /= np.float32(5.0)
    return np.asarray(preferences, dtype=np.float32)


def _ordered(matrix: csr_matrix) -> csr_matrix:
    """Return the matrix with indices that rise in each row: itself, or a sorted copy."""
    if matrix.has_sorted_indices:
        return matrix
    # `implicit` gives other bits for another order inside a row
    return matrix.sorted_indices()


def _disliked(ordered: csr_matrix, positives: csr_matrix, threshold: float | None) -> NDArray[np.bool_]:
    """Return which entries have preference 0: below the threshold, without one those that are no positive."""
    if threshold is not None:
        return np.asarray(ordered.data < threshold)
    positives = _ordered(positives)
    disliked = np.ones(ordered.nnz, dtype=np.bool_)
    for rows in row_blocks(ordered.indptr):
        liked = _pairs(positives, rows)
        liked = liked[positives.data[positives.indptr[rows.start] : positives.indptr[rows.stop]] != 0]
        entries = slice(ordered.indptr[rows.start], ordered.indptr[rows.stop])
        disliked[entries] = ~np.isin(_pairs(ordered, rows), liked, assume_unique=True)
    return disliked


def row_blocks(indptr: NDArray[np.integer], entries: int = _BLOCK_ENTRIES) -> Iterator[slice]:
    """Yield all rows as slices of about ``entries`` entries each; a row is never cut."""
    start, n_rows = 0, len(indptr) - 1
    while start < n_rows:
        stop = int(np.searchsorted(indptr, int(indptr[start]) + entries, side="right")) - 1
        stop = min(max(stop, start + 1), n_rows)
        yield slice(start, stop)
        start = stop


def _pairs(matrix: csr_matrix, rows: slice) -> NDArray[np.int64]:
    """Return row and column of every entry of some rows as one number, ascending."""
    indptr = matrix.indptr[rows.start : rows.stop + 1]
    owner = np.repeat(np.arange(rows.stop - rows.start, dtype=np.int64), np.diff(indptr))
    return (owner << 32) | matrix.indices[indptr[0] : indptr[-1]].astype(np.int64)
