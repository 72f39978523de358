"""Where BPR starts: small random factors, or those of an earlier model matched by ids."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.cf.models.item_start import ItemStart
from recsys.config.schema import BprConfig
from recsys.errors import TrainingError
from recsys.rng import generator, normal_matrix
from recsys.types import Factors


@dataclass(frozen=True)
class WarmStart:
    """An earlier model by tonight's indices; rows it does not know are not read."""

    factors: Factors
    known_users: NDArray[np.bool_]
    known_items: NDArray[np.bool_]


def start_factors(
    n_users: int,
    n_items: int,
    config: BprConfig,
    seed: int,
    warm: WarmStart | None,
    items: ItemStart | None = None,
) -> Factors:
    """Return the initial factors: N(0, init_std), items with embeddings from ``items``, known rows from ``warm``.

    What an earlier model learned counts more than what the products' texts say: embeddings start only the items
    that ``warm`` does not know. With ``item_bias`` there is one column more: 0 for items, 1 for users; a bias that
    only one of the two models has is left out. Raises TrainingError when the earlier model has other factors.
    """
    random = generator(seed, "bpr", "init")
    columns = config.factors + int(config.item_bias)
    U, V = (normal_matrix(random, config.init_std, rows, columns) for rows in (n_users, n_items))
    if config.item_bias:
        U[:, -1], V[:, -1] = 1.0, 0.0
    if items is not None:
        items.fill(V, config.init_std * math.sqrt(config.factors))
    if warm is not None:
        shared = _shared_columns(warm, config)
        for start, given, known in (
            (U, warm.factors.user_factors, warm.known_users),
            (V, warm.factors.item_factors, warm.known_items),
        ):
            np.copyto(start[:, :shared], given[:, :shared], where=known[:, np.newaxis])
    return Factors(U, V)


def _shared_columns(warm: WarmStart, config: BprConfig) -> int:
    """Return how many leading columns of the earlier model mean the same in this one."""
    given = warm.factors.n_factors
    has_bias = given == config.factors + 1 and bool(
        (warm.factors.user_factors[warm.known_users, -1] == 1.0).all()
    )
    if given - int(has_bias) != config.factors:
        raise TrainingError(
            f"warm start: the earlier model has {given} columns, this one {config.factors} factors; "
            "set bpr.factors as it was, or bpr.warm_start to false"
        )
    return config.factors + int(has_bias and config.item_bias)
