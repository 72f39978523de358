"""Recall of a model and its baseline apart for users by activity and for items by popularity."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.cf.evaluation.evaluate import Evaluation
from recsys.types import Json

# First value of each stratum and its label.
_USER_ACTIVITY = ((0, "0"), (1, "1"), (2, "2"), (3, "3-5"), (6, "6-10"), (11, "11+"))
_ITEM_POPULARITY = ((0, "0-4 (cold)"), (5, "5-19"), (20, "20-99"), (100, "100+"))


def strata_by_user_activity(
    model: Evaluation, baseline: Evaluation, user_train_counts: NDArray[np.int64], k: int
) -> list[Json]:
    """Return the mean recall@k of the users of each activity, by their number of train interactions.

    Args:
        model: Evaluation of the model.
        baseline: Evaluation of the baseline on the same users.
        user_train_counts: int64 (all users,), train interactions by user_idx.
        k: A cutoff both were evaluated at.

    Returns:
        A row {"label", "users", "recall@k", "baseline_recall@k"} for each stratum that has users.
    """
    name = f"recall@{k}"
    stratum = _stratum(user_train_counts[model.users], _USER_ACTIVITY)
    rows = []
    for index, (_, label) in enumerate(_USER_ACTIVITY):
        members = stratum == index
        if members.any():
            recall, baseline_recall = (e.per_user[name][members].mean() for e in (model, baseline))
            rows.append(_row(label, int(members.sum()), name, recall, baseline_recall))
    return rows


def strata_by_item_popularity(
    model: Evaluation, baseline: Evaluation, item_train_counts: NDArray[np.int64], k: int
) -> list[Json]:
    """Return the share of held-out items in the top k, by their number of train interactions.

    Args as in ``strata_by_user_activity`` with int64 (n_items,) counts by item_idx.

    Returns:
        A row {"label", "users", "pairs", "recall@k", "baseline_recall@k"} for each stratum with held-out
        pairs; ``users`` counts those who have a pair in it.
    """
    name = f"recall@{k}"
    stratum = _stratum(item_train_counts[model.held_out_items], _ITEM_POPULARITY)
    owner = np.repeat(model.users, np.diff(model.indptr))
    rows = []
    for index, (_, label) in enumerate(_ITEM_POPULARITY):
        members = stratum == index
        if members.any():
            recall, baseline_recall = ((e.ranks[members] < k).mean() for e in (model, baseline))
            row = _row(label, len(np.unique(owner[members])), name, recall, baseline_recall)
            rows.append({**row, "pairs": int(members.sum())})
    return rows


def _stratum(counts: NDArray[np.int64], strata: Sequence[tuple[int, str]]) -> NDArray[np.int64]:
    return np.searchsorted([first for first, _ in strata], counts, side="right") - 1


def _row(label: str, n_users: int, name: str, recall: float, baseline_recall: float) -> Json:
    return {
        "label": label,
        "users": n_users,
        name: float(recall),
        f"baseline_{name}": float(baseline_recall),
    }
