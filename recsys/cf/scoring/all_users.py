"""The best unseen items of any number of users: exact lists by tiles of users and items, with bounded memory.

A BLAS product scores a tile of users over a tile of items; a compiled scan keeps what may belong to the k best so
far, which is soon almost nothing. In the end the few kept items are scored anew by ``exact_scores`` and ordered by
that, so a list depends on its user, the item factors and the seen items alone: not on tiles, threads, BLAS, machine.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.blas import one_blas_thread
from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.all_users_kernel import order_by_exact_score, rank_all_items, scan_tile
from recsys.cf.scoring.ranks import NO_ITEM
from recsys.cf.scoring.walk import TILE_USERS, walk
from recsys.errors import DivergedError
from recsys.exact_scores import row_norms, score_error
from recsys.types import FloatMatrix, IndexVector

# Items in one product: 128 x 4,096 scores are 2 MB, about what a core's own cache holds.
TILE_ITEMS = 4096
# Kept items per user beyond 2 k: the more room, the seldomer the kept ones are sifted.
_ROOM = 64


@dataclass(frozen=True)
class TopLists:
    """The lists of some users, row by row."""

    items: IndexVector  # int32 (n_users, k), item_idx best first, padded with NO_ITEM (-1)
    scores: FloatMatrix  # float32 (n_users, k), exact scores, padded with NaN


class ExactSearch:
    """Finds the k best unseen items of users by inner product, exactly. Threads may share it."""

    def __init__(self, item_factors: FloatMatrix) -> None:
        """Keep a transposed copy of the item factors, float32 (n_items, factors), in tiles.

        Raises:
            DivergedError: Some factor is NaN or infinite.
        """
        n_items, n_factors = item_factors.shape
        self.item_factors = np.ascontiguousarray(item_factors)
        norms = row_norms(item_factors)
        _require_finite(norms, "item_idx")
        self.largest_item_norm = float(norms.max(initial=0.0))
        width = min(TILE_ITEMS, max(1, n_items))
        self._tiles = np.zeros((-(-n_items // width), n_factors, width), dtype=np.float32)
        for number, tile in enumerate(self._tiles):
            rows = item_factors[number * width : (number + 1) * width]
            tile[:, : len(rows)] = rows.T

    def lists(
        self, user_factors: FloatMatrix, users: IndexVector, seen: UserItemSets, k: int
    ) -> Iterator[TopLists]:
        """Yield the lists of ``users`` in blocks of at most 128, in order.

        Args:
            user_factors: float32 (n_users, factors), may be memory-mapped: only the rows of ``users`` are read.
            users: int32, user_idx in any order.
            seen: Items per user_idx that are never recommended.
            k: Length of the lists, at least 1; users with fewer unseen items get padded ones.

        Raises:
            DivergedError: Some factor of a user is NaN or infinite.

        Notes:
            Best first, ties of the exact float32 score to the lower item_idx. Uses the threads that compiled code
            may use (``numba.get_num_threads``), 2 MB each. Cost: 2 n_users n_items factors operations; only
            where more than about k items tie with the last one of a list (equal vectors, zero vectors) all
            items of that user are scored once more, in float64.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")

        def work(tile: IndexVector) -> TopLists:
            return self._lists_of_tile(np.take(user_factors, tile, axis=0), tile, seen, k)

        yield from walk(users, work, block_users=max(TILE_USERS, len(users)))

    def _lists_of_tile(self, rows: FloatMatrix, users: IndexVector, seen: UserItemSets, k: int) -> TopLists:
        norms = row_norms(rows)
        _require_finite(norms * max(1.0, self.largest_item_norm), "user_idx", users)
        margins = 2 * score_error(rows.shape[1], norms, self.largest_item_norm)
        kept = _Kept.empty(len(users), 2 * k + _ROOM)
        n_items, width = len(self.item_factors), self._tiles.shape[2]
        n_groups = max(k, math.isqrt(k * width))
        products = np.empty((len(users), width), dtype=np.float32)
        places = seen.indptr[users].astype(np.int64)
        ends = seen.indptr[users + 1].astype(np.int64)
        with one_blas_thread():
            for number, tile in enumerate(self._tiles):
                np.matmul(rows, tile, out=products)
                first = number * width
                scan_tile(
                    products,
                    min(width, n_items - first),
                    first,
                    seen.indices,
                    places,
                    ends,
                    k,
                    n_groups,
                    margins,
                    kept.bounds,
                    kept.counts,
                    kept.items,
                    kept.values,
                )
        return self._ordered(rows, users, seen, margins, kept, k)

    def _ordered(
        self,
        rows: FloatMatrix,
        users: IndexVector,
        seen: UserItemSets,
        margins: NDArray[np.float64],
        kept: "_Kept",
        k: int,
    ) -> TopLists:
        found = empty_lists(len(users), k)
        for row in np.flatnonzero(kept.counts < 0):
            rank_all_items(
                rows[row], self.item_factors, seen.row(users[row]), found.items[row], found.scores[row]
            )
        order_by_exact_score(
            rows, self.item_factors, kept.items, kept.values, kept.counts, margins, found.items, found.scores
        )
        return found


@dataclass(frozen=True)
class _Kept:
    """What may still belong to the lists of a tile of users."""

    bounds: NDArray[np.float32]  # a product below it cannot belong to the list
    counts: NDArray[np.int64]  # how many are kept; -1: more than there is room for, all items must be ranked
    items: IndexVector
    values: FloatMatrix

    @classmethod
    def empty(cls, n_users: int, room: int) -> "_Kept":
        return cls(
            np.full(n_users, -np.inf, dtype=np.float32),
            np.zeros(n_users, dtype=np.int64),
            np.empty((n_users, room), dtype=np.int32),
            np.empty((n_users, room), dtype=np.float32),
        )


def empty_lists(n_users: int, k: int) -> TopLists:
    """Return lists of padding alone."""
    return TopLists(
        np.full((n_users, k), NO_ITEM, dtype=np.int32), np.full((n_users, k), np.nan, dtype=np.float32)
    )


def _require_finite(norms: NDArray[np.float64], what: str, idx: IndexVector | None = None) -> None:
    """Raise DivergedError where a factor is not finite, or a product might not be."""
    bad = np.flatnonzero(~(norms < np.finfo(np.float32).max))
    if len(bad):
        first = int(bad[0]) if idx is None else int(idx[bad[0]])
        raise DivergedError(
            f"the factors of {len(bad)} rows are NaN, infinite or too large, the first is {what} {first}; the "
            "model is unusable: train again with a lower learning rate or alpha, or a higher regularization"
        )
