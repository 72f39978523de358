"""Compiled kernels over one block of scores: ranks of held-out items by counting, exact top-k."""

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.errors import DivergedError
from recsys.types import FloatMatrix, IndexVector

# Two Python threads may score at once (ALS beside BPR); numba's default layer may abort on that.
numba.config.THREADING_LAYER = "threadsafe"  # type: ignore[attr-defined]

# Rank of a held-out item that is never recommended because the user has seen it: beyond every cutoff.
NEVER = np.iinfo(np.int32).max
NO_ITEM = -1

_MAX_FLOAT32 = np.finfo(np.float32).max


def rank_held_out(
    scores: FloatMatrix, user_idx: IndexVector, held_out: UserItemSets, seen: UserItemSets, *, scorer: str
) -> IndexVector:
    """Return the rank of every held-out item among the items its user has not seen.

    Args:
        scores: float32 (len(user_idx), n_items), C order; row r belongs to ``user_idx[r]``.
        user_idx: Users of the block.
        held_out: Relevant items per user_idx.
        seen: Items per user_idx that are masked.
        scorer: Name of the scorer, for the message.

    Returns:
        int32, 0 is the top, user by user in the order of ``held_out``; ties go to the lower item_idx;
        ``NEVER`` where the held-out item is itself seen.

    Raises:
        DivergedError: Some score is NaN or infinite.

    Notes:
        Deterministic at any number of threads. O(n_items) per held-out item, nothing is sorted.
    """
    n_held_out = held_out.indptr[user_idx + 1] - held_out.indptr[user_idx]
    offsets = np.concatenate([[0], np.cumsum(n_held_out)]).astype(np.int64)
    ranks = np.empty(offsets[-1], dtype=np.int32)
    finite = np.empty(len(user_idx), dtype=np.bool_)
    _rank_rows(
        scores,
        user_idx,
        held_out.indptr,
        held_out.indices,
        seen.indptr,
        seen.indices,
        offsets,
        ranks,
        finite,
    )
    require_finite(finite, user_idx, scorer)
    return ranks


def require_finite(finite: NDArray[np.bool_], user_idx: IndexVector, scorer: str) -> None:
    """Raise DivergedError naming the first user whose flag in ``finite`` (one per user) is False."""
    if not finite.all():
        raise DivergedError(
            f"{scorer}: NaN or infinite scores of {int((~finite).sum())} users in a block of {len(finite)}, "
            f"the first is user_idx {int(user_idx[np.argmin(finite)])}; the factors are unusable: train "
            "again with a lower learning rate or alpha, or a higher regularization"
        )


def select_top_k(
    scores: FloatMatrix, user_idx: IndexVector, seen: UserItemSets, k: int
) -> tuple[IndexVector, FloatMatrix]:
    """Return the k best unseen items of each user and their scores, best first, ties to the lower item_idx.

    Args:
        scores: Finite float32 (len(user_idx), n_items), C order.
        user_idx: Users of the block.
        seen: Items per user_idx that are masked.
        k: Length of the lists.

    Returns:
        item_idx int32 (len(user_idx), k), padded with ``NO_ITEM`` where fewer items are unseen, and scores
        float32 of the same shape, padded with NaN. Deterministic at any number of threads.
    """
    items = np.full((len(user_idx), k), NO_ITEM, dtype=np.int32)
    values = np.full((len(user_idx), k), np.nan, dtype=np.float32)
    _select_rows(scores, user_idx, seen.indptr, seen.indices, items, values)
    return items, values


@njit(cache=True, nogil=True)
def _rank_of(row_scores: NDArray[np.float32], item: int, seen_items: IndexVector) -> int:
    score = row_scores[item]
    rank = 0
    for other in range(item):
        rank += row_scores[other] >= score
    for other in range(item + 1, len(row_scores)):
        rank += row_scores[other] > score
    for other in seen_items:
        if other == item:
            return NEVER
        if row_scores[other] > score or (row_scores[other] == score and other < item):
            rank -= 1
    return rank


@njit(parallel=True, cache=True, nogil=True)
def _rank_rows(
    scores: FloatMatrix,
    user_idx: IndexVector,
    held_out_indptr: NDArray[np.int64],
    held_out_indices: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    offsets: NDArray[np.int64],
    ranks: IndexVector,
    finite: NDArray[np.bool_],
) -> None:
    for row in prange(len(user_idx)):
        user = user_idx[row]
        row_scores = scores[row]
        n_bad = 0
        for item in range(len(row_scores)):
            n_bad += not (abs(row_scores[item]) <= _MAX_FLOAT32)
        finite[row] = n_bad == 0
        seen_items = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        for position in range(held_out_indptr[user + 1] - held_out_indptr[user]):
            item = held_out_indices[held_out_indptr[user] + position]
            ranks[offsets[row] + position] = _rank_of(row_scores, item, seen_items)


@njit(cache=True, nogil=True)
def _select_row(
    row_scores: NDArray[np.float32],
    seen_items: IndexVector,
    items: IndexVector,
    values: NDArray[np.float32],
) -> None:
    k = len(items)
    n_kept = 0
    cursor = 0
    for item in range(len(row_scores)):
        score = row_scores[item]
        # Items come in ascending order, so an equal score never displaces one that is already kept.
        if n_kept == k and score <= values[k - 1]:
            continue
        while cursor < len(seen_items) and seen_items[cursor] < item:
            cursor += 1
        if cursor < len(seen_items) and seen_items[cursor] == item:
            continue
        position = min(n_kept, k - 1)
        n_kept = min(n_kept + 1, k)
        while position > 0 and values[position - 1] < score:
            values[position] = values[position - 1]
            items[position] = items[position - 1]
            position -= 1
        values[position] = score
        items[position] = item


@njit(parallel=True, cache=True, nogil=True)
def _select_rows(
    scores: FloatMatrix,
    user_idx: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    items: IndexVector,
    values: FloatMatrix,
) -> None:
    for row in prange(len(user_idx)):
        user = user_idx[row]
        seen_items = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        _select_row(scores[row], seen_items, items[row], values[row])
