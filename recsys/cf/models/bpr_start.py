"""Where BPR starts: small random factors, or those of an earlier model matched by ids."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.config.schema import BprConfig
from recsys.errors import TrainingError
from recsys.rng import generator
from recsys.types import Factors


@dataclass(frozen=True)
class WarmStart:
    """An earlier model by tonight's indices; rows it does not know are not read."""

    factors: Factors
    known_users: NDArray[np.bool_]
    known_items: NDArray[np.bool_]


def start_factors(
    n_users: int, n_items: int, config: BprConfig, seed: int, warm: WarmStart | None
) -> Factors:
    """Return the initial factors: N(0, init_std), known rows from ``warm``.

    With ``item_bias`` there is one column more: 0 for items, 1 for users. Raises TrainingError when the
    earlier model has another number of columns.
    """
    random = generator(seed, "bpr", "init")
    columns = config.factors + int(config.item_bias)
    U, V = (
        random.normal(0.0, config.init_std, (rows, columns)).astype(np.float32) for rows in (n_users, n_items)
    )
    if config.item_bias:
        U[:, -1], V[:, -1] = 1.0, 0.0
    if warm is not None:
        if warm.factors.n_factors != columns:
            raise TrainingError(
                f"warm start: the earlier model has {warm.factors.n_factors} columns, this one {columns}; "
                "set bpr.factors and bpr.item_bias as they were, or bpr.warm_start to false"
            )
        U[warm.known_users] = warm.factors.user_factors[warm.known_users]
        V[warm.known_items] = warm.factors.item_factors[warm.known_items]
    return Factors(U, V)
