"""The champion's factors brought to tonight's users and items, so that both are measured on the same test."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.dataset import IdMappings, positions
from recsys.cf.scoring.blocks import FactorScorer, PartialScorer
from recsys.errors import RegistryError
from recsys.types import Factors, FloatMatrix

_BLOCK_ROWS = 1 << 16


def align_factors(
    champion: Factors, champion_ids: IdMappings, tonight: IdMappings, fallback: NDArray[np.float32]
) -> PartialScorer:
    """Return a registered model as a scorer over tonight's indices, users and items matched by the shop's ids.

    Args:
        champion: Its factors.
        champion_ids: Its ids by its own indices.
        tonight: Ids by the indices of tonight's data version.
        fallback: float32 (n_items tonight,), scores for users the model does not know: popularity.

    Raises:
        RegistryError: The model's factors and ids differ in number.
    """
    expected = (len(champion_ids.user_ids), len(champion_ids.item_ids))
    if expected != (champion.n_users, champion.n_items):
        raise RegistryError(
            f"champion: its mappings list {expected[0]} users and {expected[1]} items, its factors have "
            f"{champion.n_users} and {champion.n_items}; check it with `recsys registry verify`"
        )
    user_factors, known_users = align_rows(champion.user_factors, champion_ids.user_ids, tonight.user_ids)
    item_factors, known_items = align_rows(champion.item_factors, champion_ids.item_ids, tonight.item_ids)
    scorer = FactorScorer(Factors(user_factors, item_factors))
    return PartialScorer(scorer, known_users, known_items, fallback.astype(np.float32))


def align_rows(
    matrix: FloatMatrix, given: Sequence[str], wanted: Sequence[str]
) -> tuple[FloatMatrix, NDArray[np.bool_]]:
    """Return the rows of the wanted ids, zero where there is none, and which ids have one.

    ``given`` names the rows of ``matrix``. Memory: the rows returned and about 50 bytes an id.
    """
    source = positions(given, wanted)
    known = source >= 0
    rows = np.zeros((len(source), matrix.shape[1]), dtype=np.float32)
    for start in range(0, len(source), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        rows[block][known[block]] = matrix[source[block][known[block]]]
    return rows, known
