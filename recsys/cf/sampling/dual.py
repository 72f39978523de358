"""Negatives of one epoch: explicit and implicit hard ones, popularity-biased and uniform, reproducibly.

Each train positive is used ``samples`` times an epoch, in row order, so that a user's rows stay in cache;
triplet t is (positive t // samples, a negative drawn from counter t). The distribution is SPEC section 4.
"""

from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray

from recsys.cf.sampling.counter import hash_bits, index_below, unit_float
from recsys.cf.sampling.pools import NegativePools
from recsys.types import IndexVector

MODES = {"uniform": 0, "popularity": 1, "hard_mixed": 2, "hard_merged": 3}
KINDS = ("explicit", "implicit", "popularity", "uniform", "adaptive")
_EXPLICIT, _IMPLICIT, _POPULARITY, _UNIFORM, ADAPTIVE = (np.int8(kind) for kind in range(5))
NO_NEGATIVE = -1  # the user has seen every item
_ATTEMPTS = 32  # draws before the sampler looks for an unseen item one by one
_SLOTS = 64  # counters reserved for one triplet: 1 for the kind, _ATTEMPTS for draws
_LINEAR_SEARCH = 32  # rows up to this length are compared whole, which vectorises


def draw_negatives(
    pools: NegativePools, *, mode: str, hard_ratio: float, samples: int, key: int
) -> tuple[IndexVector, NDArray[np.int8]]:
    """Return (negatives int32, kinds int8) of one epoch, both of length n_positives * samples.

    A negative is never an item of the user's train rows, but for explicit hard negatives, which are rows the
    user disliked. ``NO_NEGATIVE`` marks a user for whom nothing is left. ``kinds`` index ``KINDS``.
    Deterministic in (pools, mode, hard_ratio, samples, key) at any number of threads.
    """
    n = pools.n_positives * samples
    negatives = np.empty(n, dtype=np.int32)
    kinds = np.empty(n, dtype=np.int8)
    _draw(
        pools.positive_users,
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
        negatives,
        kinds,
    )
    return negatives, kinds


@nb.njit(inline="always", cache=True)
def in_row(indices: Any, start: Any, end: Any, item: Any) -> Any:
    """Return whether ``item`` is among the ascending indices[start:end]."""
    if end - start <= _LINEAR_SEARCH:
        found = 0
        for at in range(start, end):
            found |= indices[at] == item
        return found != 0
    low, high = start, end
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < end and indices[low] == item


@nb.njit(cache=True)
def first_unseen(indices: Any, start: Any, end: Any, n_items: Any, first: Any) -> Any:
    """Return the first unseen item at or after ``first``, cyclically; NO_NEGATIVE when all are seen."""
    for step in range(n_items):
        item = (first + step) % n_items
        if not in_row(indices, start, end, item):
            return item
    return NO_NEGATIVE


@nb.njit(inline="always", cache=True)
def _choose_kind(mode: Any, ratio: Any, r: Any, n_explicit: Any, n_implicit: Any) -> Any:
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
    positive_users: Any,
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
) -> None:
    for p in nb.prange(len(positive_users)):
        user = positive_users[p]
        seen_start, seen_end = seen_indptr[user], seen_indptr[user + 1]
        explicit_start = explicit_indptr[user]
        n_explicit = explicit_indptr[user + 1] - explicit_start
        implicit_start = implicit_indptr[user]
        n_implicit = implicit_indptr[user + 1] - implicit_start
        for t in range(p * samples, (p + 1) * samples):
            counter = np.uint64(t) * np.uint64(_SLOTS)
            bits = hash_bits(key, counter)
            kind = _choose_kind(mode, ratio, unit_float(bits), n_explicit, n_implicit)
            item = np.int64(NO_NEGATIVE)
            if kind == _EXPLICIT:
                item = np.int64(explicit_indices[explicit_start + index_below(bits, n_explicit)])
            elif kind == _IMPLICIT:
                item = np.int64(implicit_indices[implicit_start + index_below(bits, n_implicit)])
            else:
                for attempt in range(1, _ATTEMPTS + 1):
                    bits = hash_bits(key, counter + np.uint64(attempt))
                    slot = index_below(bits, n_items)
                    if kind == _POPULARITY and unit_float(bits) >= alias_threshold[slot]:
                        slot = np.int64(alias_item[slot])
                    if not in_row(seen_indices, seen_start, seen_end, slot):
                        item = slot
                        break
                if item == NO_NEGATIVE:
                    item = first_unseen(
                        seen_indices, seen_start, seen_end, n_items, index_below(bits, n_items)
                    )
            negatives[t] = item
            kinds[t] = kind
