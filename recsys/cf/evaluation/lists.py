"""Metrics of whole recommendation lists: coverage, novelty, and diversity where items have vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.ranks import NO_ITEM
from recsys.types import FloatMatrix, IndexVector

# The lists, and by cutoff the diversity of each list that has one.
Listed = tuple[IndexVector, dict[int, NDArray[np.float64]]]


class ListTally:
    """Counts over lists that are thrown away: memory does not grow with the number of users.

    coverage@k: share of items in somebody's list. novelty@k: mean self-information of the recommended items,
    -log2((n_i + 1) / (n_users + 1)) with n_i users who have seen item i (Vargas and Castells 2011).
    diversity@k: mean over lists of 1 - cosine over all pairs of its items (Ziegler et al. 2005), items without
    a vector left out, lists with fewer than two others too; absent without ``item_vectors``.
    """

    def __init__(
        self, n_items: int, seen: UserItemSets, k_values: Sequence[int], item_vectors: FloatMatrix | None
    ) -> None:
        n_users_of_item = np.bincount(seen.indices, minlength=n_items)
        self._information = -np.log2((n_users_of_item + 1.0) / (len(seen) + 1.0))
        self._counts = {k: np.zeros(n_items, dtype=np.int64) for k in k_values}
        self._diversities: dict[int, list[NDArray[np.float64]]] = {k: [] for k in k_values}
        self._vectors = None if item_vectors is None else _with_zero_row(unit_rows(item_vectors))
        self._described = None if self._vectors is None else np.asarray(self._vectors.any(axis=1))

    def measure(self, top: IndexVector) -> Listed:
        """Return what ``add`` takes, for lists int32 (n, max k) padded with ``NO_ITEM``; changes nothing."""
        if self._vectors is None or self._described is None:
            return top, {}
        return top, {k: _diversity(top[:, :k], self._vectors, self._described) for k in self._counts}

    def add(self, found: Listed) -> None:
        """Count the lists of one block; blocks must come in the same order for the same bits."""
        top, diversities = found
        for k, counts in self._counts.items():
            items = top[:, :k]
            np.add.at(counts, items[items != NO_ITEM], 1)  # touches the listed items only, unlike a bincount
        for k, diversity in diversities.items():
            self._diversities[k].append(diversity)

    def metrics(self) -> dict[str, float]:
        """Return coverage@k, novelty@k and, with vectors, diversity@k of all lists so far."""
        metrics: dict[str, float] = {}
        for k, counts in self._counts.items():
            total = int(counts.sum())
            metrics[f"coverage@{k}"] = float(np.count_nonzero(counts) / len(counts))
            metrics[f"novelty@{k}"] = float(counts @ self._information) / total if total else 0.0
            if self._vectors is not None:
                values = np.concatenate(self._diversities[k])
                metrics[f"diversity@{k}"] = float(values.mean()) if len(values) else 0.0
        return metrics


def unit_rows(vectors: FloatMatrix) -> FloatMatrix:
    """Return the rows scaled to length 1, zero rows left as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatMatrix = (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
    return scaled


def _with_zero_row(vectors: FloatMatrix) -> FloatMatrix:
    return np.vstack([vectors, np.zeros_like(vectors[:1])])


def _diversity(
    items: IndexVector, unit_vectors: FloatMatrix, described: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return 1 - mean cosine over the pairs of each list that has two vectors or more.

    The pairs need not be visited: |sum of unit vectors|^2 = n + 2 x sum of cosines over pairs.

    Args:
        items: int32 (n, k), padded with ``NO_ITEM``.
        unit_vectors: float32 (n_items + 1, d), the last row zero: ``NO_ITEM`` takes that one.
        described: bool (n_items + 1,), which rows are not zero.
    """
    n = np.count_nonzero(described[items], axis=1).astype(np.float64)
    totals = unit_vectors[items].sum(axis=1).astype(np.float64)
    squares = np.einsum("ud,ud->u", totals, totals)
    several = n >= 2
    n, squares = n[several], squares[several]
    diversity: NDArray[np.float64] = 1.0 - (squares - n) / (n * (n - 1.0))
    return diversity
