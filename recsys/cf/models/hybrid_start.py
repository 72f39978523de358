"""Where HybridCFBERT starts: small random factors, and what the content part reads of the embeddings."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.sampling.pools import NegativePools
from recsys.config.schema import HybridConfig
from recsys.rng import generator, normal_matrix
from recsys.types import FloatMatrix

TABLES = ("user_factors", "item_factors", "projection")
MOMENTS = ("mean_", "square_")  # what Adam keeps of a table; prefixes of the names in a checkpoint


def content_matrix(embeddings: AlignedEmbeddings) -> FloatMatrix:
    """Return what the content part reads: unit vectors less their mean, float32 (n_items, d); unknown rows 0.

    Sentence vectors share a large common part, which tells no item from another. Without it an unknown item
    counts as an average one.
    """
    vectors = embeddings.vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = embeddings.known & (lengths[:, 0] > 0)
    content = np.zeros(vectors.shape, dtype=np.float32)
    if known.any():
        unit = vectors[known] / lengths[known]
        content[known] = unit - unit.mean(axis=0)
    return content


def learning_rates(config: HybridConfig, dimensions: int) -> dict[str, float]:
    """Return Adam's rate of each table; ``dimensions``: length of an embedding."""
    rate = config.learning_rate
    # d coordinates of a unit vector move together: this rate moves a projected row as far as a table's row
    return dict(zip(TABLES, (rate, rate, rate / math.sqrt(dimensions)), strict=True))


def start_arrays(
    pools: NegativePools, dimensions: int, config: HybridConfig, seed: int
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a model that has learned nothing: N(0, init_std) and moments of zero."""
    random = generator(seed, "hybrid", "init")
    rows = {"user_factors": pools.n_users, "item_factors": pools.n_items, "projection": dimensions}
    arrays: dict[str, NDArray[Any]] = {"steps": np.array(0, dtype=np.int64)}
    for name, n_rows in rows.items():
        shape = (n_rows, config.factors)
        arrays[name] = normal_matrix(random, config.init_std, *shape)
        arrays |= {f"{part}{name}": np.zeros(shape, dtype=np.float32) for part in MOMENTS}
    return arrays
