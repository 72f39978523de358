"""Which users are scored where scoring all of them would take hours: a seeded sample that bounds the scores."""

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.rng import generator
from recsys.types import IndexVector

# However many items there are, fewer users would tell too little.
FEWEST_USERS = 2_000


def users_within(n_items: int, max_scores: int) -> int:
    """Return how many users may be scored over all items: ``max_scores`` scores in all, 2,000 users at least."""
    return max(FEWEST_USERS, max_scores // max(n_items, 1))


def sample_users(users: IndexVector, most: int | None, seed: int) -> IndexVector:
    """Return the users, or, where there are more than ``most``, a random sample of that many, in their order.

    Deterministic in (users, most, seed); every user is as likely as any other. None: all users.
    """
    if most is None or len(users) <= most:
        return users
    chosen = generator(seed, "users to score").choice(len(users), most, replace=False, shuffle=False)
    return users[np.sort(chosen)]


def sample_sets(sets: UserItemSets, most: int | None, seed: int) -> UserItemSets:
    """Return the sets of a sample of those users who have one, empty for all other users; see ``sample_users``."""
    users = np.flatnonzero(sets.counts()).astype(np.int32)
    sample = sample_users(users, most, seed)
    if len(sample) == len(users):
        return sets
    chosen = np.zeros(len(sets), dtype=np.bool_)
    chosen[sample] = True
    return restricted(sets, chosen)


def restricted(sets: UserItemSets, users: NDArray[np.bool_]) -> UserItemSets:
    """Return the sets, empty for all users but the marked ones."""
    counts = np.where(users, sets.counts(), 0)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return UserItemSets(indptr, sets.indices[np.repeat(users, sets.counts())])
