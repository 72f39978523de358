"""Ranking metrics, written plainly, user by user: what the fast evaluation is tested against."""

import math
from collections.abc import Collection, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from recsys.types import FloatMatrix

if TYPE_CHECKING:
    import polars as pl

METRICS = ("recall", "ndcg", "precision", "hit_rate", "mrr", "map")


def _hits(predictions: Sequence[int], ground_truth: Set[int], k: int) -> list[bool]:
    """Return for each of the first k predictions whether it is relevant."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    top = list(predictions[:k])
    if len(set(top)) < len(top):
        raise ValueError("predictions name an item twice")
    return [item in ground_truth for item in top]


def recall_at_k(predictions: Sequence[int], ground_truth: Set[int], k: int) -> float:
    """Return the share of relevant items in the top k: hits / |relevant|, in [0, 1].

    Args:
        predictions: item_idx in rank order, best first, without repetition; may be shorter than k.
        ground_truth: The relevant item_idx.
        k: Cutoff, at least 1.

    Returns:
        0.0 when nothing is relevant; callers average over users who have a relevant item.
    """
    return sum(_hits(predictions, ground_truth, k)) / len(ground_truth) if ground_truth else 0.0


def precision_at_k(predictions: Sequence[int], ground_truth: Set[int], k: int) -> float:
    """Return hits / k, in [0, 1]; the divisor stays k when fewer items were predicted."""
    return sum(_hits(predictions, ground_truth, k)) / k


def hit_rate_at_k(predictions: Sequence[int], ground_truth: Set[int], k: int) -> float:
    """Return 1.0 when the top k holds a relevant item, else 0.0."""
    return float(any(_hits(predictions, ground_truth, k)))


def ndcg_at_k(predictions: Sequence[int], ground_truth: Set[int], k: int) -> float:
    """Return the normalised discounted cumulative gain of binary relevance, in [0, 1].

    DCG = sum over hits at position p = 1..k of 1 / log2(p + 1); divided by the DCG of the best list,
    which has min(|relevant|, k) hits on top (Järvelin and Kekäläinen 2002). 0.0 when nothing is relevant.
    """
    if not ground_truth:
        return 0.0
    hits = _hits(predictions, ground_truth, k)
    gain = sum(1.0 / math.log2(position + 2) for position, hit in enumerate(hits) if hit)
    ideal = sum(1.0 / math.log2(position + 2) for position in range(min(len(ground_truth), k)))
    return gain / ideal


def reciprocal_rank_at_k(predictions: Sequence[int], ground_truth: Set[int], k: int) -> float:
    """Return 1 / position of the first hit, positions from 1, or 0.0 without a hit in the top k."""
    hits = _hits(predictions, ground_truth, k)
    return 1.0 / (hits.index(True) + 1) if any(hits) else 0.0


def average_precision_at_k(predictions: Sequence[int], ground_truth: Set[int], k: int) -> float:
    """Return the sum over hits of precision at their position, divided by min(|relevant|, k), in [0, 1]."""
    if not ground_truth:
        return 0.0
    n_hits, total = 0, 0.0
    for position, hit in enumerate(_hits(predictions, ground_truth, k), start=1):
        if hit:
            n_hits += 1
            total += n_hits / position
    return total / min(len(ground_truth), k)


def auc(ranking: Sequence[int], ground_truth: Set[int]) -> float:
    """Return the area under the ROC curve: the share of (relevant, other) pairs ranked in the right order.

    Args:
        ranking: All unseen item_idx, best first. A relevant item that is not in it loses every pair.
        ground_truth: The relevant item_idx.

    Returns:
        A number in [0, 1]; 0.0 when nothing is relevant; a relevant item that has no other to lose to wins.
    """
    if not ground_truth:
        return 0.0
    n_others = sum(item not in ground_truth for item in ranking)
    n_others_above, total = 0, 0.0
    for item in ranking:
        if item in ground_truth:
            total += 1.0 - n_others_above / n_others if n_others else 1.0
        else:
            n_others_above += 1
    return total / len(ground_truth)


_FUNCTIONS = dict(
    zip(
        METRICS,
        (
            recall_at_k,
            ndcg_at_k,
            precision_at_k,
            hit_rate_at_k,
            reciprocal_rank_at_k,
            average_precision_at_k,
        ),
        strict=True,
    )
)


def rank_unseen(scores: FloatMatrix, seen: Collection[int]) -> list[int]:
    """Return the item_idx outside ``seen``, highest score first, ties to the lower item_idx."""
    order = np.argsort(-scores, kind="stable")
    return [int(item) for item in order if int(item) not in seen]


def evaluate_model(
    U: FloatMatrix,
    V: FloatMatrix,
    test_data: "Mapping[int, Collection[int]] | pl.DataFrame",
    user_pos_train: Mapping[int, Collection[int]],
    k_values: Sequence[int],
) -> dict[str, float]:
    """Return the mean of every metric over the users who have a relevant item.

    Exact top k over all items, the user's train items masked, ties to the lower item_idx. A user whose
    relevant items are all missed counts with zero; users without relevant items are skipped.

    Args:
        U: user_factors, float32 (n_users, factors).
        V: item_factors, float32 (n_items, factors).
        test_data: Relevant items by user_idx, or a frame with columns user_idx and item_idx.
        user_pos_train: Items by user_idx that are never recommended again.
        k_values: Cutoffs.

    Returns:
        Means by name: "recall@10", "ndcg@10", "precision@10", "hit_rate@10", "mrr@10", "map@10", ...

    Notes:
        The slow reference, about 10 s at 26,000 x 2,244; pipelines use ``evaluation.evaluate``.
    """
    relevant = test_data if isinstance(test_data, Mapping) else _sets_of(test_data)
    values: dict[str, list[float]] = {f"{name}@{k}": [] for k in k_values for name in METRICS}
    for user_idx, items in relevant.items():
        if not items:
            continue
        predictions = rank_unseen(V @ U[user_idx], user_pos_train.get(user_idx, frozenset()))
        for k in k_values:
            for name, metric in _FUNCTIONS.items():
                values[f"{name}@{k}"].append(metric(predictions, frozenset(items), k))
    return {name: float(np.mean(column)) if column else math.nan for name, column in values.items()}


def _sets_of(frame: "pl.DataFrame") -> dict[int, set[int]]:
    """Return the item sets by user_idx of a frame with columns user_idx and item_idx."""
    sets: dict[int, set[int]] = {}
    for user_idx, item_idx in frame.select("user_idx", "item_idx").iter_rows():
        sets.setdefault(user_idx, set()).add(item_idx)
    return sets
