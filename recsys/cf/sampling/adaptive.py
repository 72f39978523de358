"""Dynamic negative sampling: of several unseen items, the one that the factors score highest.

After Zhang et al. 2013, "Optimizing top-N collaborative filtering via dynamic negative item sampling". Draws see
the factors as they are when the draw starts, not as they change, so they stay parallel and reproducible.
"""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from recsys.cf.sampling.counter import hash_bits, index_below
from recsys.cf.sampling.dual import ADAPTIVE, NO_NEGATIVE, first_unseen, in_row
from recsys.cf.sampling.pools import NegativePools
from recsys.types import FloatMatrix, IndexVector

_ATTEMPTS = 4  # draws per candidate, before a user of so few unseen items does with fewer candidates
_SLOTS = 2048  # counters reserved for one triplet, more than _ATTEMPTS times the most candidates


def draw_adaptive(
    pools: NegativePools,
    user_factors: FloatMatrix,
    item_factors: FloatMatrix,
    *,
    candidates: int,
    samples: int,
    key: int,
) -> tuple[IndexVector, NDArray[np.int8]]:
    """Return (negatives int32, kinds int8), both of length n_positives * samples; see ``draw_negatives``.

    Each negative is the best-scored of ``candidates`` uniform draws (with replacement) over items that the user
    has not seen, the first of equal ones. Costs ``candidates`` dot products a triplet.
    """
    n = pools.n_positives * samples
    negatives = np.empty(n, dtype=np.int32)
    _draw(
        pools.positive_users,
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
    return negatives, np.full(n, ADAPTIVE, dtype=np.int8)


@nb.njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def _draw(
    positive_users: Any,
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
    for p in nb.prange(len(positive_users)):
        user = positive_users[p]
        start, end = seen_indptr[user], seen_indptr[user + 1]
        row = U[user]
        for t in range(p * samples, (p + 1) * samples):
            best, best_score = np.int64(NO_NEGATIVE), np.float32(0.0)
            found = 0
            for attempt in range(_ATTEMPTS * candidates):
                bits = hash_bits(key, np.uint64(t) * np.uint64(_SLOTS) + np.uint64(attempt))
                item = index_below(bits, n_items)
                if in_row(seen_indices, start, end, item):
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
                bits = hash_bits(key, np.uint64(t) * np.uint64(_SLOTS) + np.uint64(_SLOTS - 1))
                best = first_unseen(seen_indices, start, end, n_items, index_below(bits, n_items))
            negatives[t] = best
