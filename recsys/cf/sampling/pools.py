"""What BPR draws from: positives in row order, and each user's pools of negatives, as flat arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import HardNegatives, UserItemSets
from recsys.errors import EmptyDataError
from recsys.types import IndexVector

_USER_CHUNKS = 64


@dataclass(frozen=True)
class NegativePools:
    """Arrays the sampler reads. Rows of every CSR pair are users, entries are ascending item_idx (int32)."""

    n_users: int
    n_items: int
    positive_indptr: NDArray[np.int64]  # user u owns positives positive_indptr[u] to positive_indptr[u + 1]
    positive_users: IndexVector  # one entry per train positive, in row order
    positive_items: IndexVector
    seen: UserItemSets  # every train interaction: never a negative by chance
    explicit: UserItemSets
    implicit: UserItemSets
    alias_threshold: NDArray[np.float32]  # Walker's alias table of the popularity distribution
    alias_item: IndexVector
    user_weight: NDArray[np.float64]  # positives of a user, to balance blocks
    item_weight: NDArray[np.float64]  # expected visits of an item in an epoch, likewise

    @property
    def n_positives(self) -> int:
        """Number of train positives."""
        return len(self.positive_users)


def build_pools(
    positives: csr_matrix,
    seen: UserItemSets,
    hard_negatives: HardNegatives,
    item_popularity: NDArray[np.float32],
) -> NegativePools:
    """Return the pools of one data version.

    Args:
        positives: CSR (n_users, n_items) with an entry for each train positive.
        seen: every train interaction, liked or not.
        hard_negatives: explicit and implicit hard negatives.
        item_popularity: log1p of the train counts (n_items,), the weights of popularity-biased draws.

    Raises EmptyDataError when there is no positive. Memory: 8 bytes a positive and 16 an item.
    """
    if positives.nnz == 0:
        raise EmptyDataError(
            "BPR has no positive to learn from: the train split holds no rating at or above 4"
        )
    n_users, n_items = positives.shape
    users = np.repeat(np.arange(n_users, dtype=np.int32), np.diff(positives.indptr))
    items = positives.indices.astype(np.int32, copy=False)
    threshold, alias = alias_table(item_popularity.astype(np.float64))
    counts = np.bincount(items, minlength=n_items).astype(np.float64)
    return NegativePools(
        n_users=n_users,
        n_items=n_items,
        positive_indptr=positives.indptr.astype(np.int64),
        positive_users=users,
        positive_items=items,
        seen=seen,
        explicit=hard_negatives.explicit,
        implicit=hard_negatives.implicit,
        alias_threshold=threshold,
        alias_item=alias,
        user_weight=np.diff(positives.indptr).astype(np.float64),
        item_weight=counts + len(items) / n_items,
    )


def user_chunks(pools: NegativePools) -> NDArray[np.int64]:
    """Return the bounds of runs of users with about equally many positives, (chunks + 1,) ascending.

    Samplers share the runs out to threads; a run marks one user's seen items at a time.
    """
    wanted = np.linspace(0, pools.n_positives, _USER_CHUNKS + 1)
    bounds = np.searchsorted(pools.positive_indptr, wanted).astype(np.int64)
    bounds[0], bounds[-1] = 0, pools.n_users
    return np.maximum.accumulate(np.minimum(bounds, pools.n_users))


def alias_table(weights: NDArray[np.float64]) -> tuple[NDArray[np.float32], IndexVector]:
    """Return (threshold, alias) of Walker's alias method for drawing an index with the given weights.

    Draw a slot s uniformly and r in [0, 1); take s when r < threshold[s], else alias[s]. Weights of zero are
    never drawn; when all are zero the draw is uniform. O(n) to build, O(1) a draw (Walker 1977, Vose 1991).
    """
    n = len(weights)
    total = weights.sum()
    scaled = weights * (n / total) if total > 0 else np.ones(n)
    threshold = np.ones(n)
    alias = np.arange(n, dtype=np.int32)
    small = [s for s in range(n) if scaled[s] < 1.0]
    large = [s for s in range(n) if scaled[s] >= 1.0]
    while small and large:
        s, g = small.pop(), large[-1]
        threshold[s], alias[s] = scaled[s], g
        scaled[g] -= 1.0 - scaled[s]
        if scaled[g] < 1.0:
            small.append(large.pop())
    return threshold.astype(np.float32), alias
