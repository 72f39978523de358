"""Triplets of an epoch in a shuffled order, any part of the sequence by itself.

The triplets are those of ``draw_negatives`` and ``draw_adaptive``: triplet t is (positive t // samples, a negative
drawn from counter t). Their order is a permutation that is computed, not stored, so that each of many processes
draws its share of one sequence and holds nothing of the others'.
"""

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from recsys.cf.sampling import adaptive, dual
from recsys.cf.sampling.counter import hash_bits, index_below, unit_float
from recsys.cf.sampling.dual import ADAPTIVE, KINDS, MODES, NO_NEGATIVE, choose_kind
from recsys.cf.sampling.pools import NegativePools
from recsys.types import FloatMatrix, IndexVector

_ROUNDS = 4  # of the Feistel network; Luby and Rackoff (1988) need four
_NO_FACTORS = np.zeros((0, 0), dtype=np.float32)
_EXPLICIT, _IMPLICIT, _POPULARITY = (np.int8(KINDS.index(kind)) for kind in KINDS[:3])
# counters as the samplers use them: the same draws
_ATTEMPTS, _SLOTS = dual.ATTEMPTS, dual.SLOTS
_ADAPTIVE_ATTEMPTS, _ADAPTIVE_SLOTS = adaptive.ATTEMPTS, adaptive.SLOTS


class Triplets(NamedTuple):
    """Triplets in their order; those for whom no negative is left are missing."""

    users: IndexVector
    positives: IndexVector
    negatives: IndexVector
    counts: NDArray[np.int64]  # (len(KINDS),): draws of each kind, also of the missing ones


class Sequence(NamedTuple):
    """What names the shuffled triplets of an epoch, or of a part of it."""

    mode: str  # as in draw_negatives, or "adaptive"
    hard_ratio: float
    samples: int  # triplets of each positive
    key: int  # of the draws, see draw_negatives
    order_key: int  # of the permutation
    candidates: int = 0  # adaptive: unseen items of which the best-scored is the negative


def draw_places(
    pools: NegativePools,
    sequence: Sequence,
    first: int,
    last: int,
    user_factors: FloatMatrix = _NO_FACTORS,
    item_factors: FloatMatrix = _NO_FACTORS,
) -> Triplets:
    """Return the triplets at the places ``first`` to ``last`` (exclusive) of the sequence.

    Args:
        pools: positives and pools of negatives; its arrays may be mapped from files.
        sequence: which sequence; it has n_positives * samples places, those beyond hold nothing.
        first, last: places, counted from 0.
        user_factors, item_factors: what adaptive draws score candidates by.

    Deterministic, and the same triplets however the places are divided. About 0.2 microseconds a triplet on one
    thread; memory: 16 bytes a triplet.
    """
    n = max(0, min(last, pools.n_positives * sequence.samples) - first)
    users, positives, negatives = (np.empty(n, dtype=np.int32) for _ in range(3))
    counts = np.zeros(len(KINDS), dtype=np.int64)
    is_adaptive = sequence.mode == "adaptive"
    _draw(
        first,
        pools.n_positives * sequence.samples,
        sequence.samples,
        np.uint64(sequence.order_key),
        np.uint64(sequence.key),
        -1 if is_adaptive else MODES[sequence.mode],
        np.float32(sequence.hard_ratio),
        sequence.candidates,
        pools.positive_users,
        pools.positive_items,
        pools.seen.indptr,
        pools.seen.indices,
        pools.explicit.indptr,
        pools.explicit.indices,
        pools.implicit.indptr,
        pools.implicit.indices,
        pools.alias_threshold,
        pools.alias_item,
        user_factors,
        item_factors,
        users,
        positives,
        negatives,
        counts,
    )
    drawn = negatives != NO_NEGATIVE
    return Triplets(users[drawn], positives[drawn], negatives[drawn], counts)


@nb.njit(nogil=True, cache=True)
def permuted(key: Any, place: Any, n: Any) -> Any:
    """Return the image of ``place`` under the permutation of [0, n) that ``key`` (uint64) names.

    A Feistel network over the next power of 4, walked along until it ends below n (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains"): less than four walks on average.
    """
    half = np.uint64(1)
    while (np.uint64(1) << (np.uint64(2) * half)) < np.uint64(n):
        half += np.uint64(1)
    mask = (np.uint64(1) << half) - np.uint64(1)
    value = np.uint64(place)
    while True:
        left, right = value >> half, value & mask
        for turn in range(_ROUNDS):
            mixed = hash_bits(hash_bits(key, np.uint64(turn)), right)
            left, right = right, left ^ ((mixed >> np.uint64(16)) & mask)
        value = (left << half) | right
        if value < np.uint64(n):
            return np.int64(value)


@nb.njit(nogil=True, cache=True)
def _is_in(items: Any, item: Any) -> Any:
    """Return whether ascending ``items`` hold ``item``."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2
        if items[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < len(items) and items[low] == item


@nb.njit(nogil=True, cache=True)
def _first_unseen(seen: Any, first: Any, n_items: Any) -> Any:
    for step in range(n_items):
        item = (first + step) % n_items
        if not _is_in(seen, item):
            return item
    return NO_NEGATIVE


@nb.njit(nogil=True, cache=True)
def _sampled(
    kind: Any,
    key: Any,
    counter: Any,
    bits: Any,
    seen: Any,
    explicit: Any,
    implicit: Any,
    alias_threshold: Any,
    alias_item: Any,
) -> Any:
    n_items = len(alias_item)
    if kind == _EXPLICIT:
        return np.int64(explicit[index_below(bits, len(explicit))])
    if kind == _IMPLICIT:
        return np.int64(implicit[index_below(bits, len(implicit))])
    for attempt in range(1, _ATTEMPTS + 1):
        bits = hash_bits(key, counter + np.uint64(attempt))
        slot = index_below(bits, n_items)
        if kind == _POPULARITY and unit_float(bits) >= alias_threshold[slot]:
            slot = np.int64(alias_item[slot])
        if not _is_in(seen, slot):
            return slot
    return np.int64(_first_unseen(seen, index_below(bits, n_items), n_items))


@nb.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")
def _best_unseen(seen: Any, row: Any, V: Any, candidates: Any, key: Any, t: Any) -> Any:
    best, best_score, found = np.int64(NO_NEGATIVE), np.float32(0.0), 0
    for attempt in range(_ADAPTIVE_ATTEMPTS * candidates):
        bits = hash_bits(key, np.uint64(t) * np.uint64(_ADAPTIVE_SLOTS) + np.uint64(attempt))
        item = index_below(bits, len(V))
        if _is_in(seen, item):
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
        bits = hash_bits(key, np.uint64(t) * np.uint64(_ADAPTIVE_SLOTS) + np.uint64(_ADAPTIVE_SLOTS - 1))
        best = np.int64(_first_unseen(seen, index_below(bits, len(V)), len(V)))
    return best


@nb.njit(nogil=True, cache=True)
def _draw(
    first: Any,
    n_triplets: Any,
    samples: Any,
    order_key: Any,
    key: Any,
    mode: Any,
    ratio: Any,
    candidates: Any,
    positive_users: Any,
    positive_items: Any,
    seen_indptr: Any,
    seen_indices: Any,
    explicit_indptr: Any,
    explicit_indices: Any,
    implicit_indptr: Any,
    implicit_indices: Any,
    alias_threshold: Any,
    alias_item: Any,
    U: Any,
    V: Any,
    users: Any,
    positives: Any,
    negatives: Any,
    counts: Any,
) -> None:
    for at in range(len(users)):
        t = permuted(order_key, first + at, n_triplets)
        user = positive_users[t // samples]
        users[at], positives[at] = user, positive_items[t // samples]
        seen = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
        if mode < 0:
            kind = ADAPTIVE
            negatives[at] = _best_unseen(seen, U[user], V, candidates, key, t)
        else:
            explicit = explicit_indices[explicit_indptr[user] : explicit_indptr[user + 1]]
            implicit = implicit_indices[implicit_indptr[user] : implicit_indptr[user + 1]]
            counter = np.uint64(t) * np.uint64(_SLOTS)
            bits = hash_bits(key, counter)
            kind = choose_kind(mode, ratio, unit_float(bits), len(explicit), len(implicit))
            negatives[at] = _sampled(
                kind, key, counter, bits, seen, explicit, implicit, alias_threshold, alias_item
            )
        counts[kind] += 1
