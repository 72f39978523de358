"""How those are served of whom little is known: items nearly nobody bought, users who came yesterday."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.data.split import TRAIN
from recsys.cf.evaluation.baselines import improvement, similarity_scorer
from recsys.cf.evaluation.evaluate import Evaluation, evaluate
from recsys.cf.scoring.blocks import ItemScorer, Scorer
from recsys.cf.scoring.user_sample import restricted
from recsys.errors import EmptyDataError
from recsys.types import FloatMatrix, Json

# An item with fewer train interactions is cold.
COLD_ITEM_INTERACTIONS = 5
# Columns of interactions.parquet that ``cold_users`` reads.
COLUMNS = ("user_id", "user_idx", "item_idx", "is_positive", "is_trainable_user", "timestamp", "split")


def cold_items(
    model: Evaluation,
    baseline: Evaluation,
    item_train_counts: NDArray[np.int64],
    k_values: Sequence[int],
    random_init: Evaluation | None = None,
) -> Json:
    """Return the recall of held-out pairs whose item is cold, fewer than 5 train interactions.

    Args:
        model: Evaluation of the model.
        baseline: Evaluation of popularity on the same users.
        item_train_counts: int64 (n_items,), train interactions by item_idx.
        k_values: Cutoffs all were evaluated at.
        random_init: Evaluation of the same model trained from random factors, where the model was
            initialised with embeddings.

    Returns:
        {"cold_threshold", "items", "pairs", "users", "recall@k", "baseline_recall@k",
        "improvement_vs_random"}: shares of pairs in the top k, None without pairs; the last one relative to
        ``random_init`` at the first cutoff, None without it or where it found nothing.
    """
    is_cold = item_train_counts < COLD_ITEM_INTERACTIONS
    pairs = is_cold[model.held_out_items]
    owner = np.repeat(model.users, np.diff(model.indptr))
    found: Json = {
        "cold_threshold": COLD_ITEM_INTERACTIONS,
        "items": int(is_cold.sum()),
        "pairs": int(pairs.sum()),
        "users": len(np.unique(owner[pairs])),
    }
    for k in k_values:
        found[f"recall@{k}"] = _share(model, pairs, k)
        found[f"baseline_recall@{k}"] = _share(baseline, pairs, k)
    ours = _share(model, pairs, k_values[0])
    theirs = None if random_init is None else _share(random_init, pairs, k_values[0])
    found["improvement_vs_random"] = None if ours is None or theirs is None else improvement(ours, theirs)
    return found


def hits_per_user(evaluation: Evaluation, items: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Return what users contribute to the recall@k of held-out pairs on marked items, for paired intervals.

    Args:
        evaluation: Of any scorer.
        items: (n_items,), such as the cold ones.
        k: Cutoff.

    Returns:
        float64, one value per user who has such a pair, in the order of ``evaluation.users``: hits over the mean
        number of pairs, so that the mean is the share of pairs in the top k. Empty without pairs.
    """
    pairs = items[evaluation.held_out_items]
    owner = np.repeat(np.arange(evaluation.n_users), np.diff(evaluation.indptr))
    n_pairs = np.bincount(owner[pairs], minlength=evaluation.n_users)
    hits = np.bincount(owner[pairs & (evaluation.ranks < k)], minlength=evaluation.n_users)
    asked = n_pairs > 0
    return hits[asked] / n_pairs[asked].mean() if asked.any() else np.empty(0)


def _share(evaluation: Evaluation, pairs: NDArray[np.bool_], k: int) -> float | None:
    return float((evaluation.ranks[pairs] < k).mean()) if pairs.any() else None


def cold_users(
    interactions: pl.DataFrame,
    held_out: UserItemSets,
    seen: UserItemSets,
    popularity: ItemScorer,
    item_vectors: FloatMatrix | None,
    *,
    k_values: Sequence[int],
    block_users: int,
) -> Json:
    """Return what users without factors are offered, measured.

    Args:
        interactions: Rows of the data version with ``COLUMNS``; user_id may be any numbers in the order of the ids.
        held_out: Test positives per user_idx.
        seen: Items per user_idx that are masked.
        popularity: Serves whoever nothing is known of.
        item_vectors: Unit vectors by item_idx, zero rows for items without one, or None.
        k_values, block_users: As for ``evaluate``.

    Returns:
        {"no_history": the cold-start users of the shop, their positives asked of popularity with nothing
        known; "one_event": test users as they were after their first event of train, by popularity and, with
        vectors, by content; each {"users", scorer: {metric: mean}} or None where there are no such users}.
    """
    settings = {"k_values": k_values, "block_users": block_users, "lists": False}
    strangers = _strangers(interactions)
    nobody_saw = UserItemSets(np.zeros(len(strangers) + 1, dtype=np.int64), np.empty(0, dtype=np.int32))
    newcomers = _first_event(interactions, len(held_out))
    testable = restricted(held_out, newcomers.counts() > 0)
    scorers: dict[str, Scorer] = {"popularity": popularity}
    if item_vectors is not None:
        scorers["content"] = similarity_scorer(item_vectors, newcomers, popularity)
    return {
        "no_history": _means({"popularity": popularity}, strangers, nobody_saw, settings),
        "one_event": _means(scorers, testable, seen, settings),
    }


def _means(
    scorers: Mapping[str, Scorer], held_out: UserItemSets, seen: UserItemSets, settings: Json
) -> Json | None:
    try:
        found = evaluate(scorers, held_out, seen, **settings)
    except EmptyDataError:  # a shop may have no such users
        return None
    n_users = next(iter(found.values())).n_users
    return {"users": n_users, **{name: one.metrics for name, one in found.items()}}


def _strangers(interactions: pl.DataFrame) -> UserItemSets:
    """Return the positives on known items of every user who is not trainable; rows by user_id."""
    positives = interactions.filter(
        ~pl.col("is_trainable_user") & pl.col("is_positive") & pl.col("item_idx").is_not_null()
    )
    owner = positives["user_id"].rank("dense").cast(pl.Int64) - 1
    n_users = int(owner.max() or 0) + 1 if positives.height else 0  # type: ignore[arg-type]
    return _item_sets(owner.to_numpy(), positives["item_idx"].to_numpy(), n_users)


def _first_event(interactions: pl.DataFrame, n_users: int) -> UserItemSets:
    """Return the positives of every trainable user's first moment with a positive in train."""
    positives = interactions.filter((pl.col("split") == TRAIN) & pl.col("is_positive"))
    first = positives.filter(pl.col("timestamp") == pl.col("timestamp").min().over("user_idx"))
    return _item_sets(first["user_idx"].to_numpy(), first["item_idx"].to_numpy(), n_users)


def _item_sets(owner: NDArray[np.int64], items: NDArray[np.int32], n_users: int) -> UserItemSets:
    order = np.lexsort((items, owner))
    counts = np.bincount(owner, minlength=n_users) if len(owner) else np.zeros(n_users, dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return UserItemSets(indptr, items[order].astype(np.int32))
