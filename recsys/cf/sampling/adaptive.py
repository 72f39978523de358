"""Dynamic negative sampling: of several unseen items, the one that the factors score highest.

After Zhang et al. 2013, "Optimizing top-N collaborative filtering via dynamic negative item sampling". Draws see
the factors as they are when the draw starts, not as they change, so they stay parallel and reproducible.
"""

from typing import Any

import numba as nb
import numpy as np

from recsys.cf.sampling.counter import hash_bits, index_below
from recsys.cf.sampling.dual import ADAPTIVE, KINDS, NO_NEGATIVE, Draws, first_unseen, mark
from recsys.cf.sampling.pools import NegativePools, user_chunks
from recsys.types import FloatMatrix

ATTEMPTS = 4  # draws per candidate, before a user of so few unseen items does with fewer candidates
SLOTS = 2048  # counters reserved for one triplet, more than ATTEMPTS times the most candidates


def draw_adaptive(
    pools: NegativePools,
    user_factors: FloatMatrix,
    item_factors: FloatMatrix,
    *,
    candidates: int,
    samples: int,
    key: int,
) -> Draws:
    """Return the negatives of one epoch (or part of it), n_positives * samples; see ``draw_negatives``.

    Each negative is the best-scored of ``candidates`` uniform draws (with replacement) over items that the user
    has not seen, the first of equal ones. Costs ``candidates`` dot products a triplet.
    """
    n = pools.n_positives * samples
    negatives = np.empty(n, dtype=np.int32)
    _draw(
        user_chunks(pools),
        pools.positive_indptr,
        samples,
        np.uint64(key),
        candidates,
        pools.n_items,
        pools.seen.indptr,
        pools.seen.indices,
        user_factors,
        item_factors,
        negatives,
    )
    counts = np.zeros(len(KINDS), dtype=np.int64)
    counts[ADAPTIVE] = n
    return Draws(negatives, np.full(n, ADAPTIVE, dtype=np.int8), counts)


@nb.njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def _draw(
    chunks: Any,
    positive_indptr: Any,
    samples: Any,
    key: Any,
    candidates: Any,
    n_items: Any,
    seen_indptr: Any,
    seen_indices: Any,
    U: Any,
    V: Any,
    negatives: Any,
) -> None:
    for chunk in nb.prange(len(chunks) - 1):
        is_seen = np.zeros(n_items, dtype=np.bool_)
        for user in range(chunks[chunk], chunks[chunk + 1]):
            seen_items = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
            mark(is_seen, seen_items, True)
            for t in range(positive_indptr[user] * samples, positive_indptr[user + 1] * samples):
                negatives[t] = _best_unseen(is_seen, U[user], V, candidates, key, t)
            mark(is_seen, seen_items, False)


@nb.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _best_unseen(is_seen: Any, row: Any, V: Any, candidates: Any, key: Any, t: Any) -> Any:
    best, best_score, found = np.int64(NO_NEGATIVE), np.float32(0.0), 0
    for attempt in range(ATTEMPTS * candidates):
        bits = hash_bits(key, np.uint64(t) * np.uint64(SLOTS) + np.uint64(attempt))
        item = index_below(bits, len(is_seen))
        if is_seen[item]:
            continue
        found += 1
        score = np.float32(0.0)
        for f in range(V.shape[1]):
            score += row[f] * V[item, f]
        if best < 0 or score > best_score:
            best, best_score = item, score
        if found == candidates:
            break
    if best < 0:
        bits = hash_bits(key, np.uint64(t) * np.uint64(SLOTS) + np.uint64(SLOTS - 1))
        best = np.int64(first_unseen(is_seen, index_below(bits, len(is_seen))))
    return best
