"""Negatives of one epoch: explicit and implicit hard ones, popularity-biased and uniform, reproducibly.

Each train positive is used ``samples`` times an epoch, in row order, so that a user's rows stay in cache;
triplet t is (positive t // samples, a negative drawn from counter t). The distribution is SPEC section 4.
"""

from typing import Any, NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from recsys.cf.sampling.counter import hash_bits, index_below, unit_float
from recsys.cf.sampling.pools import NegativePools, user_chunks
from recsys.types import IndexVector

MODES = {"uniform": 0, "popularity": 1, "hard_mixed": 2, "hard_merged": 3}
KINDS = ("explicit", "implicit", "popularity", "uniform", "adaptive")
_EXPLICIT, _IMPLICIT, _POPULARITY, _UNIFORM, ADAPTIVE = (np.int8(kind) for kind in range(5))
NO_NEGATIVE = -1  # the user has seen every item
ATTEMPTS = 32  # draws before the sampler looks for an unseen item one by one
SLOTS = 64  # counters reserved for one triplet: 1 for the kind, ATTEMPTS for draws


class Draws(NamedTuple):
    """The negatives of one epoch: triplet t is (positive t // samples, negatives[t])."""

    negatives: IndexVector  # item_idx, or NO_NEGATIVE
    kinds: NDArray[np.int8]  # index into KINDS
    counts: NDArray[np.int64]  # (len(KINDS),): draws of each kind


def draw_negatives(pools: NegativePools, *, mode: str, hard_ratio: float, samples: int, key: int) -> Draws:
    """Return the negatives of one epoch, n_positives * samples of them.

    A negative is never an item of the user's train rows, but for explicit hard negatives, which are rows the
    user disliked. ``NO_NEGATIVE`` marks a user for whom nothing is left. Deterministic in (pools, mode,
    hard_ratio, samples, key) at any number of threads. About 8 ns a draw on one thread.
    """
    n = pools.n_positives * samples
    chunks = user_chunks(pools)
    draws = Draws(np.empty(n, np.int32), np.empty(n, np.int8), np.zeros(len(KINDS), np.int64))
    counts = np.zeros((len(chunks) - 1, len(KINDS)), dtype=np.int64)
    _draw(
        chunks,
        pools.positive_indptr,
        samples,
        np.uint64(key),
        MODES[mode],
        np.float32(hard_ratio),
        pools.n_items,
        pools.seen.indptr,
        pools.seen.indices,
        pools.explicit.indptr,
        pools.explicit.indices,
        pools.implicit.indptr,
        pools.implicit.indices,
        pools.alias_threshold,
        pools.alias_item,
        draws.negatives,
        draws.kinds,
        counts,
    )
    draws.counts[:] = counts.sum(axis=0)
    return draws


@nb.njit(cache=True)
def first_unseen(is_seen: Any, first: Any) -> Any:
    """Return the first unseen item at or after ``first``, cyclically; NO_NEGATIVE when all are seen."""
    for step in range(len(is_seen)):
        item = (first + step) % len(is_seen)
        if not is_seen[item]:
            return item
    return NO_NEGATIVE


@nb.njit(inline="always", cache=True)
def mark(is_seen: Any, items: Any, seen: Any) -> None:
    """Set the flags of one user's items; a table of flags makes each test one load, at any row length."""
    for item in items:
        is_seen[item] = seen


@nb.njit(inline="always", cache=True)
def choose_kind(mode: Any, ratio: Any, r: Any, n_explicit: Any, n_implicit: Any) -> Any:
    """Return which kind of negative a triplet gets, by r in [0, 1) and what pools its user has."""
    if mode == 0:
        return _UNIFORM
    if mode == 1:
        return _POPULARITY
    if r >= ratio:
        return _UNIFORM
    if n_explicit + n_implicit == 0:
        return _POPULARITY
    # hard_mixed: half of the hard share each; hard_merged: uniform over the union of both pools
    explicit_share = np.float32(0.5) if mode == 2 else np.float32(n_explicit / (n_explicit + n_implicit))
    wants_explicit = r < explicit_share * ratio  # a kind the user lacks gives its share to the other
    if n_implicit == 0 or (wants_explicit and n_explicit > 0):
        return _EXPLICIT
    return _IMPLICIT


@nb.njit(parallel=True, nogil=True, cache=True)
def _draw(
    chunks: Any,
    positive_indptr: Any,
    samples: Any,
    key: Any,
    mode: Any,
    ratio: Any,
    n_items: Any,
    seen_indptr: Any,
    seen_indices: Any,
    explicit_indptr: Any,
    explicit_indices: Any,
    implicit_indptr: Any,
    implicit_indices: Any,
    alias_threshold: Any,
    alias_item: Any,
    negatives: Any,
    kinds: Any,
    kind_counts: Any,
) -> None:
    for chunk in nb.prange(len(chunks) - 1):
        is_seen = np.zeros(n_items, dtype=np.bool_)
        counts = np.zeros(kind_counts.shape[1], dtype=np.int64)
        for user in range(chunks[chunk], chunks[chunk + 1]):
            seen_items = seen_indices[seen_indptr[user] : seen_indptr[user + 1]]
            explicit = explicit_indices[explicit_indptr[user] : explicit_indptr[user + 1]]
            implicit = implicit_indices[implicit_indptr[user] : implicit_indptr[user + 1]]
            mark(is_seen, seen_items, True)
            for t in range(positive_indptr[user] * samples, positive_indptr[user + 1] * samples):
                counter = np.uint64(t) * np.uint64(SLOTS)
                bits = hash_bits(key, counter)
                kind = choose_kind(mode, ratio, unit_float(bits), len(explicit), len(implicit))
                item = np.int64(NO_NEGATIVE)
                if kind == _EXPLICIT:
                    item = np.int64(explicit[index_below(bits, len(explicit))])
                elif kind == _IMPLICIT:
                    item = np.int64(implicit[index_below(bits, len(implicit))])
                else:
                    for attempt in range(1, ATTEMPTS + 1):
                        bits = hash_bits(key, counter + np.uint64(attempt))
                        slot = index_below(bits, n_items)
                        if kind == _POPULARITY and unit_float(bits) >= alias_threshold[slot]:
                            slot = np.int64(alias_item[slot])
                        if not is_seen[slot]:
                            item = slot
                            break
                    if item == NO_NEGATIVE:
                        item = first_unseen(is_seen, index_below(bits, n_items))
                negatives[t] = item
                kinds[t] = kind
                counts[kind] += 1
            mark(is_seen, seen_items, False)
        kind_counts[chunk] = counts
