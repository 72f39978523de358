"""Ranks and top lists by scores that are the same for every user, without a score per user and item."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.ranks import NEVER, NO_ITEM
from recsys.types import IndexVector


class SameOrder:
    """The items in the one order of all users: what ``rank_held_out`` and ``select_top_k`` say, from that order.

    The cost of a user is that of the items it has seen and of its list, whatever the number of items.
    """

    def __init__(self, item_scores: NDArray[np.float32]) -> None:
        """Keep the order of finite float32 (n_items,) scores, ties to the lower item_idx."""
        self._order = np.argsort(-item_scores, kind="stable").astype(np.int32)
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(len(self._order), dtype=np.int32)

    def ranks(self, user_idx: IndexVector, held_out: UserItemSets, seen: UserItemSets) -> IndexVector:
        """Return the rank of every held-out item as ``rank_held_out`` does, int32."""
        counts = held_out.indptr[user_idx + 1] - held_out.indptr[user_idx]
        ranks = np.empty(int(counts.sum()), dtype=np.int32)
        _rank(
            self._place, user_idx, held_out.indptr, held_out.indices, seen.indptr, seen.indices, ranks
        )  # fmt: skip
        return ranks

    def top(self, user_idx: IndexVector, seen: UserItemSets, k: int) -> IndexVector:
        """Return the k best unseen items as ``select_top_k`` does, int32 (len(user_idx), k)."""
        items = np.full((len(user_idx), k), NO_ITEM, dtype=np.int32)
        _top(self._order, self._place, user_idx, seen.indptr, seen.indices, items)
        return items


@njit(cache=True, nogil=True)
def _rank(
    place: IndexVector,
    user_idx: IndexVector,
    held_out_indptr: NDArray[np.int64],
    held_out_indices: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    ranks: IndexVector,
) -> None:
    written = 0
    for user in user_idx:
        for at in range(held_out_indptr[user], held_out_indptr[user + 1]):
            own = place[held_out_indices[at]]
            rank = own
            for other in range(seen_indptr[user], seen_indptr[user + 1]):
                before = place[seen_indices[other]]
                if before == own:
                    rank = NEVER
                    break
                rank -= before < own
            ranks[written] = rank
            written += 1


@njit(cache=True, nogil=True)
def _top(
    order: IndexVector,
    place: IndexVector,
    user_idx: IndexVector,
    seen_indptr: NDArray[np.int64],
    seen_indices: IndexVector,
    items: IndexVector,
) -> None:
    k = items.shape[1]
    for row in range(len(user_idx)):
        user = user_idx[row]
        seen_places = np.sort(place[seen_indices[seen_indptr[user] : seen_indptr[user + 1]]])
        n_kept, next_seen, at = 0, 0, 0
        while n_kept < k and at < len(order):
            if next_seen < len(seen_places) and seen_places[next_seen] == at:
                next_seen += 1
            else:
                items[row, n_kept] = order[at]
                n_kept += 1
            at += 1
