"""Approximate top lists by a graph of items (HNSW) under the inner product; needs the extra ``ann`` (faiss-cpu).

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable Small
World graphs", TPAMI 2020. The metric is the inner product itself: turning it into a distance by one more dimension
ruins the recall on factors of recommenders (DECISIONS.md). What the graph finds is scored and ordered exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from recsys.blas import look_for_blas_again
from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.all_users import ExactSearch, TopLists, empty_lists
from recsys.cf.scoring.all_users_kernel import drop_seen, order_by_exact_score
from recsys.errors import ConfigError
from recsys.types import FloatMatrix, IndexVector

_BLOCK_USERS = 4096
# A user for whom more than this share of the items must be asked is served faster by looking at all of them.
_LARGEST_SHARE_ASKED = 1 / 8


@dataclass(frozen=True)
class HnswSettings:
    """The graph: links per item, candidates while it is built, candidates while it is asked."""

    m: int
    ef_construction: int
    ef_search: int


class HnswSearch:
    """Finds good unseen items of users by inner product; the same protocol as ``ExactSearch``."""

    def __init__(self, exact: ExactSearch, settings: HnswSettings) -> None:
        """Build the graph with one thread: links depend on the order in which items enter.

        Raises:
            ConfigError: The extra ``ann`` is not installed.
        """
        self._faiss = _require_faiss()
        self._exact = exact
        self._settings = settings
        n_items, n_factors = exact.item_factors.shape
        self._n_items = n_items
        self._index = self._faiss.IndexHNSWFlat(n_factors, settings.m, self._faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = settings.ef_construction
        self._faiss.omp_set_num_threads(1)
        self._index.add(exact.item_factors)

    def lists(
        self, user_factors: FloatMatrix, users: IndexVector, seen: UserItemSets, k: int
    ) -> Iterator[TopLists]:
        """Yield the lists of ``users`` in blocks, in order; arguments and form as in ``ExactSearch.lists``.

        Notes:
            A user's seen items are found, too, so that k and as many more are asked for. Users with so many that
            an eighth of the items would be asked for, and those for whom the graph gave too few, get exact lists.
            Scores are exact, items may be missing: measure the recall. Deterministic for one graph, and
            the graph for one version of faiss on one kind of processor.
        """
        for start in range(0, len(users), _BLOCK_USERS):
            yield self._block(user_factors, users[start : start + _BLOCK_USERS], seen, k)

    def _block(self, user_factors: FloatMatrix, users: IndexVector, seen: UserItemSets, k: int) -> TopLists:
        found = empty_lists(len(users), k)
        n_seen = seen.indptr[users + 1] - seen.indptr[users]
        # powers of two: few searches, each for users who need about the same
        asked = 2 ** np.ceil(np.log2(k + n_seen)).astype(np.int64)
        wanted = np.minimum(k, self._n_items - n_seen)
        lacking = asked > self._n_items * _LARGEST_SHARE_ASKED
        for n_asked in np.unique(asked[~lacking]):
            rows = np.flatnonzero((asked == n_asked) & ~lacking)
            counts = self._ask(user_factors, users, rows, seen, int(n_asked), found)
            lacking[rows] = counts < wanted[rows]
        self._fill(user_factors, users, np.flatnonzero(lacking), seen, found)
        return found

    def _ask(
        self,
        user_factors: FloatMatrix,
        users: IndexVector,
        rows: Any,
        seen: UserItemSets,
        n_asked: int,
        found: TopLists,
    ) -> Any:
        """Fill the lists of these rows with what the graph knows; return how many unseen items it gave each."""
        vectors = np.take(user_factors, users[rows], axis=0)
        ef = max(self._settings.ef_search, n_asked)
        self._faiss.omp_set_num_threads(numba.get_num_threads())
        _, answers = self._index.search(
            vectors, n_asked, params=self._faiss.SearchParametersHNSW(efSearch=ef)
        )
        items = np.empty(answers.shape, dtype=np.int32)
        counts = drop_seen(answers, users[rows], seen.indptr, seen.indices, items)
        order = np.tile(-np.arange(n_asked, dtype=np.float32), (len(rows), 1))
        best = empty_lists(len(rows), found.items.shape[1])
        # the graph's products are not at hand, and all candidates are few
        order_by_exact_score(
            vectors,
            self._exact.item_factors,
            items,
            order,
            counts.copy(),
            np.full(len(rows), np.inf),
            best.items,
            best.scores,
        )
        found.items[rows], found.scores[rows] = best.items, best.scores
        return counts

    def _fill(
        self, user_factors: FloatMatrix, users: IndexVector, rows: Any, seen: UserItemSets, found: TopLists
    ) -> None:
        """Give these rows exact lists."""
        k, done = found.items.shape[1], 0
        for block in self._exact.lists(user_factors, users[rows], seen, k):
            place = rows[done : done + len(block.items)]
            found.items[place], found.scores[place] = block.items, block.scores
            done += len(block.items)


def _require_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "recommend.method hnsw needs faiss: pip install 'train-cf[ann]', or choose recommend.method=exact"
        ) from error
    look_for_blas_again()  # faiss brings its own
    return faiss


def recall(found: IndexVector, exact: IndexVector) -> float:
    """Return which share of the items of the exact lists is in the lists found, over all rows together; 1 for none."""
    n_listed = int((exact >= 0).sum())
    n_common = sum(
        len(np.intersect1d(ours[ours >= 0], theirs[theirs >= 0], assume_unique=True))
        for ours, theirs in zip(found, exact, strict=True)
    )
    return n_common / n_listed if n_listed else 1.0
