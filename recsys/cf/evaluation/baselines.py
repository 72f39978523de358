"""What a model has to beat: popularity, similarity of items by content, chance; the relative gain over them."""

from datetime import timedelta
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.dataset import InteractionDataset, UserItemSets
from recsys.cf.data.split import TRAIN
from recsys.cf.scoring.blocks import ItemScorer, PartialScorer, ProfileScorer, RandomScorer
from recsys.errors import ConfigError
from recsys.rng import derive_seed
from recsys.types import FloatMatrix


def require_popularity(
    dataset: InteractionDataset, by: Literal["train_counts", "num_sold_time", "recent"]
) -> None:
    """Raise ConfigError when the popularity asked for is ``num_sold_time`` and no item has it."""
    if by == "num_sold_time" and dataset.items["num_sold_time"].is_null().all():
        raise ConfigError(
            f"evaluation.popularity: num_sold_time is asked for, but data version {dataset.version} has "
            "none; prepare it with a product file that has that column, or use train_counts"
        )


def popularity_scorer(
    dataset: InteractionDataset, by: Literal["train_counts", "num_sold_time"]
) -> ItemScorer:
    """Return a scorer that ranks items by how popular they are, the same for every user.

    Args:
        dataset: Gives the counts.
        by: ``train_counts``, interactions in train, or ``num_sold_time``, the number the shop gave; items
            without one come last.

    Returns:
        Scores are dense ranks of the counts, 0 for the least popular: exact in float32 whatever the counts.

    Raises:
        ConfigError: ``num_sold_time`` is asked for and no item has it.
    """
    require_popularity(dataset, by)
    counts = dataset.item_train_counts.astype(np.float64)
    if by == "num_sold_time":
        sold = dataset.items.sort("item_idx")["num_sold_time"]
        counts = sold.cast(float).fill_null(-np.inf).to_numpy()
    return ItemScorer(_dense_ranks(counts))


def recent_popularity_scorer(interactions: pl.DataFrame, n_items: int, days: int) -> ItemScorer:
    """Return a scorer that ranks items by their train interactions of the last ``days`` days.

    Args:
        interactions: Rows of a data version with columns item_idx, timestamp and split; the window ends at
            the newest train row, so that held-out rows decide nothing.
        n_items: Number of items.
        days: Length of the window.

    Returns:
        Scores are dense ranks; items with equal recent counts are ordered by all their train interactions.
    """
    train = interactions.filter(pl.col("split") == TRAIN).select("item_idx", "timestamp")
    recent = train.filter(pl.col("timestamp") > pl.col("timestamp").max() - timedelta(days=days))
    in_all, lately = (
        np.bincount(rows["item_idx"].to_numpy(), minlength=n_items).astype(np.float64)
        for rows in (train, recent)
    )
    return ItemScorer(_dense_ranks(lately * (in_all.max(initial=0.0) + 1.0) + in_all))


def similarity_scorer(
    item_vectors: FloatMatrix, liked: UserItemSets, popularity: ItemScorer
) -> PartialScorer:
    """Return a scorer by content: items like those the user liked, by cosine to their mean.

    Args:
        item_vectors: Unit vectors by item_idx, zero rows for items without one; these come last.
        liked: Items per user_idx that make the profile; users without one that has a vector get popularity.
        popularity: Scores for those users.
    """
    has_vector = np.asarray(item_vectors.any(axis=1))
    owner = np.repeat(np.arange(len(liked)), liked.counts())
    n_described = np.bincount(owner, weights=has_vector[liked.indices], minlength=len(liked))
    return PartialScorer(
        ProfileScorer(item_vectors, liked), n_described > 0, has_vector, popularity.item_scores
    )


def random_scorer(dataset: InteractionDataset, seed: int) -> RandomScorer:
    """Return a scorer without any knowledge: the floor of every metric, and a check of the evaluation."""
    return RandomScorer(dataset.n_items, derive_seed(seed, "random baseline"))


def expected_random_recall(held_out: UserItemSets, seen: UserItemSets, n_items: int, k: int) -> float:
    """Return the expected recall@k of a random ranking of unseen items, averaged as ``evaluate`` does.

    Each of the m unseen items is in the top k with probability min(k, m) / m; a held-out item that is seen
    never is.
    """
    n_held_out, n_unseen = held_out.counts(), n_items - seen.counts()
    expected = []
    for user_idx in np.flatnonzero(n_held_out).tolist():
        n_reachable = np.setdiff1d(held_out.row(user_idx), seen.row(user_idx), assume_unique=True).size
        chance = min(k, n_unseen[user_idx]) / max(n_unseen[user_idx], 1)
        expected.append(chance * n_reachable / n_held_out[user_idx])
    return float(np.mean(expected))


def improvement(model_value: float, baseline_value: float) -> float | None:
    """Return (model - baseline) / baseline, 0.2 is 20 % better; None where the baseline is 0."""
    return (model_value - baseline_value) / baseline_value if baseline_value else None


def _dense_ranks(counts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return 0 for the lowest count, 1 for the next higher, ...: exact in float32 whatever the counts."""
    return np.unique(counts, return_inverse=True)[1].astype(np.float32)
