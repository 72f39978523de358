"""Compiled parts of the search for the best items: sifting tiles of products, ordering by the exact score."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.cf.scoring.kept import insert, raise_to
from recsys.types import FloatMatrix, IndexVector

_MASKED = np.float32(-np.inf)
# Products looked at together: a chunk in which none reaches the bound costs one vectorised count.
_CHUNK = 64
# Up to this length insertion finds the k-th best faster than a partition.
_INSERTED = 32


@njit(cache=True, nogil=True)
def _count_from(values: NDArray[np.float32], bound: np.float32) -> np.int32:
    """Return how many values reach the bound; float32 and int32 throughout, for as many lanes as there are."""
    n = np.int32(0)
    for place in range(len(values)):
        n = np.int32(n + np.int32(values[place] >= bound))
    return n


@njit(cache=True, nogil=True)
def _kth_best(values: NDArray[np.float32], k: int, best: NDArray[np.float32]) -> float:
    """Return the k-th largest value, -inf where there are fewer than k; ``best`` is room for k."""
    if len(values) < k:
        return float(_MASKED)
    if k > _INSERTED:
        return float(np.partition(values, len(values) - k)[len(values) - k])
    n_kept = 0
    for value in values:
        if n_kept == k and value <= best[k - 1]:
            continue
        place = min(n_kept, k - 1)
        while place > 0 and best[place - 1] < value:
            best[place] = best[place - 1]
            place -= 1
        best[place] = value
        n_kept = min(n_kept + 1, k)
    return float(best[k - 1])


@njit(cache=True, nogil=True)
def _sift(items: IndexVector, values: NDArray[np.float32], n_kept: int, bound: np.float32) -> int:
    """Drop what is below the bound, keep the order, and return how many are left."""
    left = 0
    for place in range(n_kept):
        if values[place] >= bound:
            values[left] = values[place]
            items[left] = items[place]
            left += 1
    return left


@njit(cache=True, nogil=True)
def _first_bound(
    row: NDArray[np.float32], k: int, margin: float, maxima: NDArray[np.float32], best: NDArray[np.float32]
) -> np.float32:
    """Return a lower bound for the list's last product: the k-th best maximum of interleaved groups."""
    maxima[:] = _MASKED
    for start in range(0, len(row), len(maxima)):
        raise_to(maxima, row[start : start + len(maxima)])
    return np.float32(_kth_best(maxima, k, best) - margin)


@njit(cache=True, nogil=True)
def scan_tile(
    products: FloatMatrix,
    width: int,
    first_item: int,
    seen_indices: IndexVector,
    places: NDArray[np.int64],
    ends: NDArray[np.int64],
    k: int,
    n_groups: int,
    margins: NDArray[np.float64],
    bounds: NDArray[np.float32],
    counts: NDArray[np.int64],
    items: IndexVector,
    values: FloatMatrix,
) -> None:
    """Take what may belong to the k best out of a tile of products, which is changed.

    Args:
        products: float32 (n_users, >= width), the first ``width`` of items ``first_item``, ``first_item`` + 1, ...
        places, ends: Per user the part of ``seen_indices``, ascending, that is not masked yet; moved on.
        n_groups: Groups that the first bound is made of, at least k.
        margins: Per user, how far below the k-th best product an item of the list may be.
        bounds, counts, items, values: What was kept of earlier tiles; brought up to date.
    """
    maxima = np.empty(n_groups, dtype=np.float32)
    best = np.empty(k, dtype=np.float32)
    for user in range(len(products)):
        row = products[user, :width]
        place = places[user]
        while place < ends[user] and seen_indices[place] < first_item + width:
            row[seen_indices[place] - first_item] = _MASKED
            place += 1
        places[user] = place
        if counts[user] < 0:
            continue
        if bounds[user] == _MASKED:
            bounds[user] = _first_bound(row, k, margins[user], maxima, best)
        for start in range(0, width, _CHUNK):
            chunk = row[start : start + _CHUNK]
            if _count_from(chunk, bounds[user]) > 0:
                _keep(chunk, first_item + start, k, margins, bounds, counts, items, values, user, best)
                if counts[user] < 0:
                    break


@njit(cache=True, nogil=True)
def _keep(
    chunk: NDArray[np.float32],
    first_item: int,
    k: int,
    margins: NDArray[np.float64],
    bounds: NDArray[np.float32],
    counts: NDArray[np.int64],
    items: IndexVector,
    values: FloatMatrix,
    user: int,
    best: NDArray[np.float32],
) -> None:
    """Keep the products of a chunk that reach the user's bound; sift and raise the bound when the room is full."""
    bound, n_kept = bounds[user], counts[user]
    for place in range(len(chunk)):
        product = chunk[place]
        if product < bound or product == _MASKED:
            continue
        if n_kept == items.shape[1]:
            bound = max(bound, np.float32(_kth_best(values[user, :n_kept], k, best) - margins[user]))
            n_kept = _sift(items[user], values[user], n_kept, bound)
            if n_kept == items.shape[1]:
                counts[user] = -1
                return
            if product < bound:
                continue
        items[user, n_kept] = first_item + place
        values[user, n_kept] = product
        n_kept += 1
    bounds[user], counts[user] = bound, n_kept


@njit(cache=True, nogil=True)
def _exact(user: NDArray[np.float32], item: NDArray[np.float32]) -> np.float32:
    """Return U[u] . V[i] as ``exact_scores`` does: from left to right, in float64."""
    total = 0.0
    for place in range(len(user)):
        total += np.float64(user[place]) * np.float64(item[place])
    return np.float32(total)


@njit(cache=True, nogil=True)
def order_by_exact_score(
    rows: FloatMatrix,
    item_factors: FloatMatrix,
    candidates: IndexVector,
    values: FloatMatrix,
    counts: NDArray[np.int64],
    margins: NDArray[np.float64],
    items: IndexVector,
    scores: FloatMatrix,
) -> None:
    """Fill ``items`` and ``scores`` with the best of each user's first ``counts`` candidates; -1: left as it is.

    Candidates whose product is more than the user's margin below the k-th best cannot be in the list.
    """
    k = items.shape[1]
    best = np.empty(k, dtype=np.float32)
    for user in range(len(rows)):
        if counts[user] <= 0:
            continue
        bound = np.float32(_kth_best(values[user, : counts[user]], k, best) - margins[user])
        counts[user] = _sift(candidates[user], values[user], counts[user], bound)
        n_kept = 0
        # best products first: most items then go to the end of the list
        for place in np.argsort(-values[user, : counts[user]]):
            item = candidates[user, place]
            score = _exact(rows[user], item_factors[item])
            n_kept = insert(score, item, n_kept, items[user], scores[user])


@njit(cache=True, nogil=True)
def rank_all_items(
    user: NDArray[np.float32],
    item_factors: FloatMatrix,
    seen_items: IndexVector,
    items: IndexVector,
    scores: NDArray[np.float32],
) -> None:
    """Fill a list from the exact scores of all unseen items; for users with too many near ties to keep."""
    n_kept = 0
    place = 0
    all_alike = not user.any()
    for item in range(len(item_factors)):
        if all_alike and n_kept == len(items):
            break
        if place < len(seen_items) and seen_items[place] == item:
            place += 1
            continue
        n_kept = insert(_exact(user, item_factors[item]), item, n_kept, items, scores)


@njit(cache=True, nogil=True)
def drop_seen(
    candidates: NDArray[np.int64],
    users: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    items: IndexVector,
) -> NDArray[np.int64]:
    """Write each row's unseen candidates to the front of ``items`` and return how many they are; -1 is no item."""
    counts = np.zeros(len(users), dtype=np.int64)
    for row in range(len(users)):
        start, stop = seen_indptr[users[row]], seen_indptr[users[row] + 1]
        for item in candidates[row]:
            place = start + np.searchsorted(seen_indices[start:stop], item)
            if item >= 0 and (place == stop or seen_indices[place] != item):
                items[row, counts[row]] = item
                counts[row] += 1
    return counts
