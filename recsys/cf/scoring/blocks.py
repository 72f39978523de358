"""Scorers: what gives the scores of a block of users over all items, whatever the model behind."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.cf.scoring.walk import TILE_USERS, one_blas_thread
from recsys.rng import derive_seed
from recsys.types import Factors, FloatMatrix, IndexVector


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


class ItemScorer:
    """The same scores for every user, such as popularity."""

    def __init__(self, item_scores: NDArray[np.float32]) -> None:
        self._item_scores = np.asarray(item_scores, dtype=np.float32)

    @property
    def n_items(self) -> int:
        """Number of items, the columns of the scores."""
        return len(self._item_scores)

    def scores(self, user_idx: IndexVector) -> FloatMatrix:
        """Return the item scores repeated, float32 (len(user_idx), n_items)."""
        return np.repeat(self._item_scores[np.newaxis], len(user_idx), axis=0)


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
