"""Small interaction matrices that tests of samplers and trainers share."""

import numpy as np
from item_sets import item_sets
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import HardNegatives
from recsys.cf.sampling.pools import NegativePools, build_pools


def random_positives(n_users: int, n_items: int, per_user: int, seed: int) -> csr_matrix:
    """Return a binary CSR with popular and rare items, at least one positive a user."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, n_items + 1)
    rows = [
        random.choice(
            n_items, size=random.integers(1, per_user + 1), replace=False, p=weights / weights.sum()
        )
        for _ in range(n_users)
    ]
    users = np.repeat(np.arange(n_users), [len(row) for row in rows])
    matrix = csr_matrix(
        (np.ones(len(users), np.float32), (users, np.concatenate(rows))), shape=(n_users, n_items)
    )
    matrix.sort_indices()
    return matrix


def pools_of(
    positives: csr_matrix,
    explicit: list[list[int]] | None = None,
    implicit: list[list[int]] | None = None,
) -> NegativePools:
    """Return pools in which the seen items are positives and explicit hard negatives."""
    n_users = positives.shape[0]
    explicit = explicit or [[] for _ in range(n_users)]
    seen = [sorted({*positives[u].indices.tolist(), *explicit[u]}) for u in range(n_users)]
    hard = HardNegatives(item_sets(explicit), item_sets(implicit or [[] for _ in range(n_users)]))
    counts = np.bincount(positives.indices, minlength=positives.shape[1])
    return build_pools(positives, item_sets(seen), hard, np.log1p(counts).astype(np.float32))


def checkerboard(n: int) -> csr_matrix:
    """Return an n x n board: user u likes the items of its own parity but one, the one on the diagonal."""
    users, items = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    liked = ((users + items) % 2 == 0) & (users != items)
    return csr_matrix(liked.astype(np.float32))
