"""Top-k recommendations of any scorer."""

import numpy as np

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.blocks import TILE_USERS, Scorer
from recsys.cf.scoring.ranks import require_finite, select_top_k
from recsys.types import FloatMatrix, IndexVector


def recommend(
    scorer: Scorer, user_idx: IndexVector, seen: UserItemSets, k: int
) -> tuple[IndexVector, FloatMatrix]:
    """Return the k best unseen items of each user and their scores, best first, ties to the lower item_idx.

    Args:
        scorer: Gives the scores.
        user_idx: int32, the users to serve; any order, repetition allowed.
        seen: Items per user_idx that are never recommended.
        k: Length of the lists, at least 1.

    Returns:
        item_idx int32 (len(user_idx), k), padded with -1 where a user has fewer unseen items, and scores
        float32 of the same shape, padded with NaN.

    Raises:
        DivergedError: Some score is NaN or infinite.

    Notes:
        Deterministic, independent of the other users asked for. Holds 128 x n_items scores at a time.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    items = np.empty((len(user_idx), k), dtype=np.int32)
    values = np.empty((len(user_idx), k), dtype=np.float32)
    for start in range(0, len(user_idx), TILE_USERS):
        block = slice(start, start + TILE_USERS)
        scores = scorer.scores(user_idx[block])
        finite = np.asarray(np.isfinite(scores).all(axis=1))
        require_finite(finite, user_idx[block], type(scorer).__name__)
        items[block], values[block] = select_top_k(scores, user_idx[block], seen, k)
    return items, values
