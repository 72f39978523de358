"""Per-user metrics computed from the ranks of held-out items, all users at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.cf.metrics import METRICS
from recsys.cf.scoring.ranks import NEVER
from recsys.types import IndexVector

Vector = NDArray[np.float64]


def metrics_from_ranks(
    ranks: IndexVector, indptr: NDArray[np.int64], k_values: Sequence[int]
) -> dict[str, Vector]:
    """Return every metric of every user, by name ("recall@10", ...) in the order of ``metrics.METRICS``.

    Args:
        ranks: int32, rank of each held-out item among its user's unseen items, 0 is the top.
        indptr: int64 (n_users + 1,): user u owns ``ranks[indptr[u]:indptr[u + 1]]``, at least one.
        k_values: Cutoffs.

    Returns:
        float64 (n_users,) per metric, formulas as in ``recsys.cf.metrics``.

    Notes:
        Deterministic: sums run in the order of ranks. O(n log n) in the number of held-out items.
    """
    n_relevant = np.diff(indptr)
    user = np.repeat(np.arange(len(n_relevant)), n_relevant)
    order = np.lexsort((ranks, user))
    sorted_ranks = ranks[order].astype(np.int64)
    # The m-th best held-out item of a user has m - 1 of the same user above it.
    nth = np.arange(1, len(ranks) + 1) - indptr[user]
    columns: dict[str, Vector] = {}
    for k in k_values:
        values = _at_cutoff(sorted_ranks, user, nth, n_relevant, k)
        columns.update({f"{name}@{k}": values[name] for name in METRICS})
    return columns


def auc_from_ranks(ranks: IndexVector, indptr: NDArray[np.int64], n_unseen: NDArray[np.int64]) -> Vector:
    """Return the area under the ROC curve of every user: the share of (relevant, other) pairs in order.

    Args:
        ranks: As for ``metrics_from_ranks``; a held-out item that is never recommended loses every pair.
        indptr: As for ``metrics_from_ranks``.
        n_unseen: int64 (n_users,), unseen items of each user.

    Returns:
        float64 (n_users,), formula as ``recsys.cf.metrics.auc``.
    """
    n_relevant = np.diff(indptr)
    user = np.repeat(np.arange(len(n_relevant)), n_relevant)
    reachable = ranks != NEVER
    sorted_ranks = ranks[np.lexsort((ranks, user))].astype(np.int64)
    n_better_relevant = np.arange(len(ranks)) - indptr[user]
    n_reachable = np.bincount(user, weights=reachable, minlength=len(n_relevant))
    n_others = (n_unseen - n_reachable)[user]
    # NEVER sorts last, so that a reachable item has only reachable ones above it
    lost = np.where(sorted_ranks == NEVER, n_others, sorted_ranks - n_better_relevant)
    shares = np.divide(lost, n_others, out=np.where(sorted_ranks == NEVER, 1.0, 0.0), where=n_others > 0)
    return 1.0 - np.bincount(user, weights=shares, minlength=len(n_relevant)) / n_relevant


def _at_cutoff(
    ranks: NDArray[np.int64],
    user: NDArray[np.int64],
    nth: NDArray[np.int64],
    n_relevant: NDArray[np.int64],
    k: int,
) -> dict[str, Vector]:
    hit = ranks < k
    ranks, user, nth = ranks[hit], user[hit], nth[hit]

    def per_user(gains: NDArray[np.float64] | None = None) -> Vector:
        return np.bincount(user, weights=gains, minlength=len(n_relevant)).astype(np.float64)

    hits = per_user()
    n_best = np.minimum(n_relevant, k)
    ideal = np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))[n_best - 1]
    first = nth == 1
    return {
        "recall": hits / n_relevant,
        "ndcg": per_user(1.0 / np.log2(ranks + 2.0)) / ideal,
        "precision": hits / k,
        "hit_rate": (hits > 0).astype(np.float64),
        "mrr": per_user(np.where(first, 1.0 / (ranks + 1.0), 0.0)),
        "map": per_user(nth / (ranks + 1.0)) / n_best,
    }
