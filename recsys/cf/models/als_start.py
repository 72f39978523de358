"""Where ALS starts: random factors, the items' from embeddings where there are some."""

import numpy as np

from recsys.cf.models.item_start import ItemStart
from recsys.rng import generator, normal_matrix
from recsys.types import Factors

# Expected length of an initial vector. The library's own start, uniform in [0, 0.01), needs about five more
# iterations to leave the popularity-like plateau under strong regularization (DECISIONS.md).
INIT_NORM = 1.0


def als_start_factors(
    n_users: int, n_items: int, factors: int, seed: int, items: ItemStart | None = None
) -> Factors:
    """Return N(0, 1 / sqrt(factors)) for both sides, known items from ``items``.

    Users stay random: the first half-sweep solves them from V, so their start hardly counts.
    """
    random = generator(seed, "als", "init")
    U, V = (normal_matrix(random, INIT_NORM / np.sqrt(factors), rows, factors) for rows in (n_users, n_items))
    if items is not None:
        items.fill(V, INIT_NORM)
    return Factors(U, V)
