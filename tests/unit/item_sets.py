"""Item sets written down in tests as lists."""

from collections.abc import Sequence

import numpy as np

from recsys.cf.data.dataset import UserItemSets


def item_sets(rows: Sequence[Sequence[int]]) -> UserItemSets:
    """Return the sets of users 0, 1, ... given as lists of item_idx."""
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return UserItemSets(indptr, np.array([item for row in rows for item in sorted(row)], dtype=np.int32))
