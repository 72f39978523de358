"""Scorers: what gives the scores of a block of users over all items, whatever the model behind."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.blas import one_blas_thread
from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.walk import TILE_USERS
from recsys.rng import derive_seed
from recsys.types import Factors, FloatMatrix, IndexVector

# Below every score a model gives, and finite: what a scorer does not know comes last.
_LOWEST = np.finfo(np.float32).min


class Scorer(Protocol):
    """Gives scores of users over all items; the same user gets the same bits in every block."""

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        ...

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return the scores of these users, float32 (len(user_idx), n_items), C order, free to be changed."""
        ...


class FactorScorer:
    """Scores U[u] . V of a factor model."""

    def __init__(self, factors: Factors) -> None:
        self._user_factors = factors.user_factors
        # BLAS packs rows of V^T faster than columns of V
        self._item_columns = np.ascontiguousarray(factors.item_factors.T)

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        return int(self._item_columns.shape[1])

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return U[user_idx] . V^T, float32 (len(user_idx), n_items), computed by one BLAS thread."""
        return tiled_product(np.take(self._user_factors, user_idx, axis=0), self._item_columns)


def tiled_product(rows: FloatMatrix, columns: FloatMatrix) -> FloatMatrix:
    """Return rows @ columns, float32, in products of one fixed shape: a row's bits don't depend on the others.

    Args:
        rows: float32 (n, factors).
        columns: float32 (factors, n_items), C order.
    """
    n_padded = -(-len(rows) // TILE_USERS) * TILE_USERS
    if len(rows) < n_padded:
        padded = np.zeros((n_padded, rows.shape[1]), dtype=np.float32)
        padded[: len(rows)] = rows
    else:
        padded = rows
    products = np.empty((n_padded, columns.shape[1]), dtype=np.float32)
    with one_blas_thread():
        for start in range(0, n_padded, TILE_USERS):
            tile = slice(start, start + TILE_USERS)
            np.matmul(padded[tile], columns, out=products[tile])
    return products[: len(rows)]


class ProfileScorer:
    """Scores by content: the mean vector of the items a user liked, times each item's vector."""

    def __init__(self, item_vectors: FloatMatrix, liked: UserItemSets) -> None:
        """Keep vectors float32 (n_items, d), zero rows for items without one, and the liked items per user."""
        weights = np.repeat(1.0 / np.maximum(liked.counts(), 1), liked.counts()).astype(np.float32)
        shape = (len(liked), len(item_vectors))
        self._weights = csr_matrix((weights, liked.indices, liked.indptr), shape=shape)
        self._item_vectors = item_vectors
        self._item_columns = np.ascontiguousarray(item_vectors.T)

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        return len(self._item_vectors)

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return profile . vector, float32 (len(user_idx), n_items); zero for a user without a profile."""
        profiles = self._weights[user_idx] @ self._item_vectors
        return tiled_product(profiles, self._item_columns)


@dataclass(frozen=True)
class PartialScorer:
    """A scorer that knows some users and items only, completed as serving would complete it.

    Known users get its scores over the items it knows, the other items last; users it does not know get the
    fallback scores over all items.
    """

    scorer: Scorer
    known_users: NDArray[np.bool_]  # (n_users,)
    known_items: NDArray[np.bool_]  # (n_items,)
    fallback: NDArray[np.float32]  # (n_items,)

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        return len(self.known_items)

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return complete scores, float32 (len(user_idx), n_items)."""
        scores = self.scorer.scores(user_idx)
        scores[:, ~self.known_items] = _LOWEST
        scores[~self.known_users[user_idx]] = self.fallback
        return scores


class ItemScorer:
    """The same scores for every user, such as popularity."""

    def __init__(self, item_scores: NDArray[np.float32]) -> None:
        self.item_scores = np.asarray(item_scores, dtype=np.float32)

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        return len(self.item_scores)

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return the item scores repeated, float32 (len(user_idx), n_items)."""
        return np.repeat(self.item_scores[np.newaxis], len(user_idx), axis=0)


class RandomScorer:
    """Random scores in [0, 1), a function of seed, user_idx and item_idx alone."""

    def __init__(self, n_items: int, seed: int) -> None:
        self._seed = np.uint32(derive_seed(seed, "random scorer") & 0xFFFFFFFF)
        self._item_bits = _mix(np.arange(n_items, dtype=np.uint32))

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        return len(self._item_bits)

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return hashes as numbers in [0, 1), float32 (len(user_idx), n_items), 24 random bits each."""
        scores = np.empty((len(user_idx), self.n_items), dtype=np.float32)
        user_bits = _mix(_mix(user_idx.astype(np.uint32)) ^ self._seed)
        for row, bits in enumerate(user_bits):
            scores[row] = _mix(self._item_bits ^ bits) >> np.uint32(8)
        scores *= np.float32(2.0**-24)
        return scores


def _mix(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return well-mixed 32-bit hashes by the finaliser of MurmurHash3 (a bijection)."""
    bits = bits ^ (bits >> np.uint32(16))
    bits *= np.uint32(0x85EBCA6B)
    bits ^= bits >> np.uint32(13)
    bits *= np.uint32(0xC2B2AE35)
    bits ^= bits >> np.uint32(16)
    return bits
