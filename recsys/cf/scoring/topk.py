"""Top-k recommendations of any scorer."""

import numpy as np

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.blocks import Scorer
from recsys.cf.scoring.ranks import require_finite, select_top_k
from recsys.cf.scoring.walk import walk
from recsys.types import FloatMatrix, IndexVector


def recommend(
    scorer: Scorer, user_idx: IndexVector, seen: UserItemSets, k: int, *, block_users: int = 1024
) -> tuple[IndexVector, FloatMatrix]:
    """Return the k best unseen items of each user and their scores, best first, ties to the lower item_idx.

    Args:
        scorer: Gives the scores.
        user_idx: int32, the users to serve; any order, repetition allowed.
        seen: Items per user_idx that are never recommended.
        k: Length of the lists, at least 1.
        block_users: Users scored at a time, bounds the memory; see ``walk``.

    Returns:
        item_idx int32 (len(user_idx), k), padded with -1 where a user has fewer unseen items, and scores
        float32 of the same shape, padded with NaN.

    Raises:
        DivergedError: Some score is NaN or infinite.

    Notes:
        Deterministic, independent of the other users asked for and of the number of threads.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")

    def work(tile: IndexVector) -> tuple[IndexVector, FloatMatrix]:
        scores = scorer.scores(tile)
        require_finite(np.asarray(np.isfinite(scores).all(axis=1)), tile, type(scorer).__name__)
        return select_top_k(scores, tile, seen, k)

    items = np.empty((len(user_idx), k), dtype=np.int32)
    values = np.empty((len(user_idx), k), dtype=np.float32)
    start = 0
    for tile_items, tile_values in walk(user_idx, work, block_users=block_users):
        stop = start + len(tile_items)
        items[start:stop], values[start:stop] = tile_items, tile_values
        start = stop
    return items, values
