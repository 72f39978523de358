"""Product embeddings projected to as many dimensions as a model has factors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recsys.blas import one_blas_thread
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.errors import DataError
from recsys.rng import generator
from recsys.types import FloatMatrix, Json

ProjectionMethod: TypeAlias = Literal["svd", "pca", "random"]
_Matrix: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Projected embeddings by item_idx, and how much of the originals they keep."""

    vectors: FloatMatrix  # float32 (n_items, factors), C order; zero rows where not known
    known: NDArray[np.bool_]  # (n_items,)
    rank: int  # columns that carry something; the others, at the right, are zero
    explained_variance: float  # share of the variance of the known vectors that the projection keeps, 0 to 1
    method: ProjectionMethod
    original_dim: int
    name: str  # of the model that made the embeddings
    version: str

    def scaled(self, rms_length: float) -> FloatMatrix:
        """Return the vectors times one number, so that the root mean square length of known rows is given.

        One number for all: angles and relative lengths stay. Raises DataError when every vector is zero.
        """
        known = self.vectors[self.known].astype(np.float64)
        now = float(np.sqrt((known**2).sum() / max(len(known), 1)))
        if now == 0.0:
            raise DataError(
                "all product embeddings of this data version are zero after the projection; look at the file "
                "they come from, or set bert.projection to svd"
            )
        return (self.vectors * (rms_length / now)).astype(np.float32)

    def facts(self) -> Json:
        """Return what the metadata tells of the projection, with the names of the original specification."""
        return {
            "embedding_name": self.name,
            "embedding_version": self.version,
            "projection_method": self.method,
            "original_dim": self.original_dim,
            "projected_dim": int(self.vectors.shape[1]),
            "rank": self.rank,
            "explained_variance": self.explained_variance,
            "known_items": int(self.known.sum()),
            "coverage": float(self.known.mean()),
        }


def project(
    embeddings: AlignedEmbeddings, factors: int, method: ProjectionMethod, *, seed: int
) -> Projection:
    """Return the embeddings in ``factors`` dimensions, an orthogonal projection onto fewer axes.

    Args:
        embeddings: Only known rows are looked at.
        factors: Number of columns wanted. With fewer dimensions, or fewer independent vectors, than that the
            columns at the right stay zero, see ``rank``; whoever starts a fit from them fills them in, because
            a zero column of V stays zero in ALS.
        method: svd, the axes of the largest second moments about the origin (TruncatedSVD of the original);
            pca, the same about the mean, which is subtracted; random, axes drawn with the seed, orthonormal.
        seed: Of the random axes.

    Raises:
        DataError: No item has a vector.

    Notes:
        Deterministic: the axes are eigenvectors of a (dimensions, dimensions) matrix, in float64 on one BLAS
        thread, their signs such that the largest weight of each is positive. ``explained_variance`` is the
        variance of the projected columns over that of the original ones, for all methods, as scikit-learn's
        TruncatedSVD defines it. 22,000 x 768 take about a second.
    """
    if not embeddings.known.any():
        raise DataError("no item of this data version has an embedding; nothing can be projected")
    known = embeddings.vectors[embeddings.known].astype(np.float64)
    centred = known - known.mean(axis=0)
    with one_blas_thread():
        axes = _AXES[method](known, centred, factors, seed)
        found = (centred if method == "pca" else known) @ axes
    total = float(centred.var(axis=0).sum())
    vectors = np.zeros((embeddings.n_items, factors), dtype=np.float32)
    vectors[embeddings.known, : axes.shape[1]] = found
    return Projection(
        vectors=vectors,
        known=embeddings.known,
        rank=int(axes.shape[1]),
        explained_variance=float(found.var(axis=0).sum()) / total if total > 0 else 1.0,
        method=method,
        original_dim=embeddings.dimensions,
        name=embeddings.name,
        version=embeddings.version,
    )


def _largest_axes(moments: _Matrix, n_rows: int, factors: int) -> _Matrix:
    """Return the eigenvectors of the largest eigenvalues above rounding, (dimensions, at most factors)."""
    values, axes = np.linalg.eigh(moments)
    values, axes = values[::-1][:factors], axes[:, ::-1][:, :factors]
    rounding = values[0] * max(n_rows, len(moments)) * np.finfo(np.float64).eps
    axes = axes[:, values > rounding]
    heaviest = np.abs(axes).argmax(axis=0)
    return np.asarray(axes * np.sign(axes[heaviest, np.arange(axes.shape[1])]), dtype=np.float64)


def _svd_axes(known: _Matrix, _centred: _Matrix, factors: int, _seed: int) -> _Matrix:
    return _largest_axes(known.T @ known, len(known), factors)


def _pca_axes(_known: _Matrix, centred: _Matrix, factors: int, _seed: int) -> _Matrix:
    return _largest_axes(centred.T @ centred, len(centred), factors)


def _random_axes(known: _Matrix, _centred: _Matrix, factors: int, seed: int) -> _Matrix:
    dimensions = known.shape[1]
    columns = min(factors, dimensions)
    drawn = generator(seed, "bert", "random projection").standard_normal((dimensions, columns))
    axes, triangle = np.linalg.qr(drawn)
    return np.asarray(axes * np.sign(np.diag(triangle)), dtype=np.float64)


_AXES: Mapping[str, Callable[[_Matrix, _Matrix, int, int], _Matrix]] = {
    "svd": _svd_axes,
    "pca": _pca_axes,
    "random": _random_axes,
}
