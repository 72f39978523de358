"""A linear map from product embeddings to item factors: it serves items that a model has never seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.blas import one_blas_thread
from recsys.cf.data.npz import read_arrays, write_arrays
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.errors import DataError, IntegrityError
from recsys.types import FloatMatrix, Json

_GRID = np.logspace(-6, 6, 49)  # strengths, relative to the mean square singular value
_MIN_ITEMS = 3


@dataclass(frozen=True)
class ItemMap:
    """factors = (vector - embedding_mean) weights + factor_mean, all float32."""

    weights: FloatMatrix  # (dimensions, factors)
    embedding_mean: NDArray[np.float32]  # (dimensions,)
    factor_mean: NDArray[np.float32]  # (factors,)
    regularization: float  # the ridge chosen, on the scale of the weighted squares
    r_squared: float  # of leave-one-out predictions: 1 perfect, 0 no better than the mean, less is worse
    n_items: int  # it was learned from
    name: str  # of the model that made the embeddings
    version: str

    def factors(self, vectors: FloatMatrix) -> FloatMatrix:
        """Return item factors, float32 (n, factors), of embeddings float32 (n, dimensions).

        Raises DataError when the vectors have another length than those the map was learned from.
        """
        if vectors.ndim != 2 or vectors.shape[1] != len(self.weights):
            raise DataError(
                f"the item map takes embeddings of {len(self.weights)} dimensions ({self.name or 'no name'} "
                f"{self.version}), got {vectors.shape}; embed the new items with the same encoder"
            )
        mapped = (vectors - self.embedding_mean) @ self.weights + self.factor_mean
        return np.ascontiguousarray(mapped, dtype=np.float32)

    def facts(self) -> Json:
        """Return what the metadata tells of the map."""
        return {
            "embedding_name": self.name,
            "embedding_version": self.version,
            "original_dim": len(self.weights),
            "projected_dim": len(self.factor_mean),
            "regularization": self.regularization,
            "leave_one_out_r_squared": self.r_squared,
            "learned_from_items": self.n_items,
        }


def fit_item_map(
    embeddings: AlignedEmbeddings, item_factors: FloatMatrix, item_weights: NDArray[Any]
) -> ItemMap:
    """Return the weighted ridge regression of item factors on embeddings, its strength by leave-one-out.

    Minimises sum of w_i |v_i - m - W^T (x_i - mean)|^2 + strength |W|^2; the mean is not penalised.

    Args:
        embeddings: Vectors by item_idx.
        item_factors: float32 (n_items, factors), of a trained model.
        item_weights: (n_items,), how far each item's factors are to be trusted; items of weight 0, or without
            a vector, are left out. Train interactions are a good choice: an item nobody bought has no factors
            worth learning from.

    Raises:
        DataError: Fewer than 3 items have both a weight and a vector.

    Notes:
        Closed form in float64 by one singular value decomposition: the error of each left-out item is its
        residual over 1 - leverage (Allen 1974, PRESS), so every strength of a grid costs only products. No
        random numbers, one BLAS thread: deterministic. 2,000 items x 384 take 0.3 s.
    """
    use = embeddings.known & (np.asarray(item_weights) > 0)
    if int(use.sum()) < _MIN_ITEMS:
        raise DataError(
            f"an item map needs at least {_MIN_ITEMS} bought items with an embedding, there are {int(use.sum())}"
        )
    X, Y = embeddings.vectors[use].astype(np.float64), item_factors[use].astype(np.float64)
    w = np.asarray(item_weights, dtype=np.float64)[use]
    w = w / w.mean()
    x_mean, y_mean = (np.average(rows, axis=0, weights=w) for rows in (X, Y))
    root = np.sqrt(w)[:, np.newaxis]
    with one_blas_thread():
        left, s, right = np.linalg.svd(root * (X - x_mean), full_matrices=False)
        coefficients = left.T @ (root * (Y - y_mean))
        strength, error = _best_strength(left, s, coefficients, root * (Y - y_mean), w)
        weights = right.T @ ((s / (s**2 + strength))[:, np.newaxis] * coefficients)
    # what predicting the mean of the others would leave
    of_mean = float((w[:, np.newaxis] * (Y - y_mean) ** 2 / (1 - w / w.sum())[:, np.newaxis] ** 2).sum())
    return ItemMap(
        weights=weights.astype(np.float32),
        embedding_mean=x_mean.astype(np.float32),
        factor_mean=y_mean.astype(np.float32),
        regularization=strength,
        r_squared=1.0 - error / of_mean if of_mean > 0 else 0.0,
        n_items=int(use.sum()),
        name=embeddings.name,
        version=embeddings.version,
    )


def _best_strength(
    left: NDArray[np.float64],
    s: NDArray[np.float64],
    coefficients: NDArray[np.float64],
    targets: NDArray[np.float64],
    w: NDArray[np.float64],
) -> tuple[float, float]:
    """Return (strength, weighted squared leave-one-out error) of the grid's best, the larger one at a tie."""
    scale = float((s**2).mean()) or 1.0
    found = []
    for strength in (_GRID * scale)[::-1].tolist():
        shrink = s**2 / (s**2 + strength)
        residuals = targets - left @ (shrink[:, np.newaxis] * coefficients)
        leverage = (left**2) @ shrink + w / w.sum()  # the second part is the mean's
        left_out = residuals / np.maximum(1.0 - leverage, 1e-9)[:, np.newaxis]
        found.append((float((left_out**2).sum()), strength))
    error, strength = min(found, key=lambda pair: pair[0])
    return strength, error


def item_map_file(model_type: str) -> str:
    """Return the name of the file that holds the map of a registered model."""
    return f"{model_type}_item_map.npz"


def write_item_map(path: Path, item_map: ItemMap) -> None:
    """Write an .npz that ``read_item_map`` reads; equal maps give equal bytes."""
    write_arrays(
        path,
        {
            "weights": item_map.weights,
            "embedding_mean": item_map.embedding_mean,
            "factor_mean": item_map.factor_mean,
            "regularization": np.array(item_map.regularization),
            "r_squared": np.array(item_map.r_squared),
            "n_items": np.array(item_map.n_items),
            "name": np.array(item_map.name, dtype=np.str_),
            "version": np.array(item_map.version, dtype=np.str_),
        },
    )


def read_item_map(path: Path) -> ItemMap:
    """Return the map that ``write_item_map`` wrote. Raises IntegrityError when the file is damaged."""
    try:
        arrays = read_arrays(path)
        return ItemMap(
            weights=np.array(arrays["weights"]),
            embedding_mean=np.array(arrays["embedding_mean"]),
            factor_mean=np.array(arrays["factor_mean"]),
            regularization=float(arrays["regularization"]),
            r_squared=float(arrays["r_squared"]),
            n_items=int(arrays["n_items"]),
            name=str(arrays["name"]),
            version=str(arrays["version"]),
        )
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path.name} is no item map: {error}; verify the model it belongs to"
        ) from error
