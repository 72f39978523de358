"""Compiled kernels over one block of scores: ranks of held-out items by counting, exact top-k."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.kept import insert, raise_to
from recsys.errors import DivergedError
from recsys.types import FloatMatrix, IndexVector

# Rank of a held-out item that is never recommended because the user has seen it: beyond every cutoff.
NEVER = np.iinfo(np.int32).max
NO_ITEM = -1

_MAX_FLOAT32 = np.finfo(np.float32).max
_MASKED = np.float32(-np.inf)


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
        Deterministic. O(n_items) per held-out item, nothing is sorted. Runs without the interpreter lock.
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
        scores: Finite float32 (len(user_idx), n_items), C order; changed meanwhile, and restored.
        user_idx: Users of the block.
        seen: Items per user_idx that are masked.
        k: Length of the lists.

    Returns:
        item_idx int32 (len(user_idx), k), padded with ``NO_ITEM`` where fewer items are unseen, and scores
        float32 of the same shape, padded with NaN. Deterministic.

    Notes:
        Items are read as n_groups interleaved groups, about sqrt(k n_items). The k-th best of their maxima is
        a lower bound for the k-th best item, so only the k groups that reach it are searched: one pass that
        vectorises, then about k n_items / n_groups steps. Runs without the interpreter lock.
    """
    items = np.full((len(user_idx), k), NO_ITEM, dtype=np.int32)
    values = np.full((len(user_idx), k), np.nan, dtype=np.float32)
    n_groups = min(scores.shape[1], max(k, math.isqrt(k * scores.shape[1])))
    _select_rows(scores, user_idx, seen.indptr, seen.indices, n_groups, items, values)
    return items, values


def unseen_scores(scores: FloatMatrix, user_idx: IndexVector, seen: UserItemSets) -> NDArray[np.float32]:
    """Return the scores of the items each user has not seen, user by user, float32.

    Args:
        scores: float32 (len(user_idx), n_items), C order; row r belongs to ``user_idx[r]``.
        user_idx: Users of the block.
        seen: Items per user_idx that are left out, ascending.
    """
    n_seen = int((seen.indptr[user_idx + 1] - seen.indptr[user_idx]).sum())
    unseen = np.empty(scores.size - n_seen, dtype=np.float32)
    _copy_unseen(scores, user_idx, seen.indptr, seen.indices, unseen)
    return unseen


# The counters are cast back to int32 in every step: numba would widen them, and half the lanes would be lost.
@njit(cache=True, nogil=True)
def _count(row_scores: NDArray[np.float32], score: float) -> tuple[np.int32, np.int32, np.int32]:
    """Return how many scores are higher, equal, and finite."""
    above, tied, finite = np.int32(0), np.int32(0), np.int32(0)
    for other in range(len(row_scores)):
        above = np.int32(above + np.int32(row_scores[other] > score))
        tied = np.int32(tied + np.int32(row_scores[other] == score))
        finite = np.int32(finite + np.int32(abs(row_scores[other]) <= _MAX_FLOAT32))
    return above, tied, finite


@njit(cache=True, nogil=True)
def _seen_above(row_scores: NDArray[np.float32], item: int, seen_items: IndexVector) -> int:
    """Return how many seen items stand before ``item``, -1 when it is seen itself."""
    score = row_scores[item]
    n_before = 0
    for other in seen_items:
        if other == item:
            return -1
        n_before += row_scores[other] > score or (row_scores[other] == score and other < item)
    return n_before


@njit(cache=True, nogil=True)
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
    for row in range(len(user_idx)):
        user = user_idx[row]
        row_scores = scores[row]
        seen_items = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        finite[row] = True
        for position in range(held_out_indptr[user + 1] - held_out_indptr[user]):
            item = held_out_indices[held_out_indptr[user] + position]
            above, tied, n_finite = _count(row_scores, row_scores[item])
            finite[row] = n_finite == len(row_scores)
            if tied > 1:
                above += (row_scores[:item] == row_scores[item]).sum()
            n_seen = _seen_above(row_scores, item, seen_items)
            ranks[offsets[row] + position] = NEVER if n_seen < 0 else above - n_seen


@njit(cache=True, nogil=True)
def _select_rows(
    scores: FloatMatrix,
    user_idx: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    n_groups: int,
    items: IndexVector,
    values: FloatMatrix,
) -> None:
    k = items.shape[1]
    maxima = np.empty(n_groups, dtype=np.float32)
    best_groups = np.empty(k, dtype=np.int32)
    best_maxima = np.empty(k, dtype=np.float32)
    for row in range(len(user_idx)):
        user = user_idx[row]
        row_scores = scores[row]
        seen_items = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        seen_scores = row_scores[seen_items]
        row_scores[seen_items] = _MASKED
        maxima[:] = _MASKED
        for start in range(0, len(row_scores), n_groups):
            raise_to(maxima, row_scores[start : start + n_groups])
        n_best = 0
        for group in range(n_groups):
            n_best = insert(maxima[group], group, n_best, best_groups, best_maxima)
        # Fewer groups than k: each item is a group of its own, all are searched.
        bound = best_maxima[k - 1] if n_best == k else _MASKED
        n_kept = 0
        for group in range(n_groups):
            if maxima[group] < bound or maxima[group] == _MASKED:
                continue
            for item in range(group, len(row_scores), n_groups):
                if row_scores[item] >= bound and row_scores[item] != _MASKED:
                    n_kept = insert(row_scores[item], item, n_kept, items[row], values[row])
        row_scores[seen_items] = seen_scores


@njit(cache=True, nogil=True)
def _copy_unseen(
    scores: FloatMatrix,
    user_idx: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    unseen: NDArray[np.float32],
) -> None:
    written = 0
    for row in range(len(user_idx)):
        first = 0
        for position in range(seen_indptr[user_idx[row]], seen_indptr[user_idx[row] + 1]):
            item = seen_indices[position]
            unseen[written : written + item - first] = scores[row, first:item]
            written += item - first
            first = item + 1
        rest = scores.shape[1] - first
        unseen[written : written + rest] = scores[row, first:]
        written += rest
