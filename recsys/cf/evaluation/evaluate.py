"""Metrics of several scorers on the same users, in one walk over blocks of users."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.dataset import UserItemSets
from recsys.cf.evaluation.lists import Listed, ListTally
from recsys.cf.evaluation.rank_metrics import Vector, auc_from_ranks, metrics_from_ranks
from recsys.cf.scoring.blocks import FactorScorer, ItemScorer, Scorer
from recsys.cf.scoring.ranks import rank_held_out, select_top_k
from recsys.cf.scoring.same_for_all import SameOrder
from recsys.cf.scoring.walk import walk
from recsys.errors import EmptyDataError
from recsys.types import Factors, FloatMatrix, IndexVector

logger = logging.getLogger(__name__)

# Bounds the memory of a look at validation; no value depends on it.
_VALIDATION_BLOCK_USERS = 1024


@dataclass(frozen=True)
class Evaluation:
    """What one scorer reached, user by user and on average."""

    users: IndexVector  # user_idx of the evaluated users, ascending
    per_user: dict[str, Vector]  # "recall@10", ... -> float64 (n_users,), aligned with users
    metrics: dict[str, float]  # the means, and with lists "coverage@k", "novelty@k", "diversity@k"
    n_skipped_users: int  # users without a held-out positive
    indptr: NDArray[np.int64]  # user r of users owns held_out_items[indptr[r]:indptr[r + 1]]
    held_out_items: IndexVector
    ranks: IndexVector  # of held_out_items among the unseen items, 0 is the top

    @property
    def n_users(self) -> int:
        """Number of evaluated users, the denominator of every mean."""
        return len(self.users)

    def to_frame(self) -> pl.DataFrame:
        """Return a row per evaluated user: user_idx and every metric; per_user_metrics.parquet."""
        return pl.DataFrame({"user_idx": self.users, **self.per_user})

    @staticmethod
    def empty_frame() -> pl.DataFrame:
        """Return the frame of a model that could not be measured: no users, no metrics."""
        return pl.DataFrame(schema={"user_idx": pl.Int32})


def evaluate(
    scorers: Mapping[str, Scorer],
    held_out: UserItemSets,
    seen: UserItemSets,
    *,
    k_values: Sequence[int],
    block_users: int,
    lists: bool = True,
    auc: bool = False,
    item_vectors: FloatMatrix | None = None,
) -> dict[str, Evaluation]:
    """Return an evaluation per scorer over the users who have a held-out positive.

    Ranks are exact over all items, items of ``seen`` masked, ties to the lower item_idx. A user whose
    positives are all missed counts with zero; users without a positive are skipped and counted.

    Args:
        scorers: What to measure, by name.
        held_out: Relevant items per user_idx.
        seen: Items per user_idx that are masked; also gives the item frequencies of novelty.
        k_values: Cutoffs, ascending.
        block_users: Users scored at a time, by all threads together (at least 128 are); the scores take
            4 x block_users x n_items bytes at most.
        lists: Also select the top lists, for coverage@k and novelty@k, see ``ListTally``.
        auc: Also the area under the ROC curve, per user and on average, named "auc".
        item_vectors: float32 (n_items, d), zero rows where an item has none; with ``lists`` diversity@k.

    Raises:
        EmptyDataError: No user has a held-out positive.
        DivergedError: A scorer gives NaN or infinite scores.

    Notes:
        Deterministic, the same at any ``block_users`` and number of threads (those that compiled code of the
        calling thread may use). At 26,000 x 2,244 with 64 factors about 0.04 s a scorer on two cores, 0.08 s
        with lists; an ItemScorer takes no score per user and item.
    """
    users = _users_with_positives(held_out)
    names = list(scorers)
    ranks: dict[str, list[IndexVector]] = {name: [] for name in names}
    tallies = (
        {name: ListTally(one.n_items, seen, k_values, item_vectors) for name, one in scorers.items()}
        if lists
        else {}
    )

    same = {name: SameOrder(one.item_scores) for name, one in scorers.items() if _is_same_for_all(one)}
    longest = max(k_values)

    def work(tile: IndexVector) -> list[tuple[IndexVector, Listed | None]]:
        found: list[tuple[IndexVector, Listed | None]] = []
        for name in names:
            if name in same:
                tile_ranks = same[name].ranks(tile, held_out, seen)
                top = same[name].top(tile, seen, longest) if lists else None
            else:
                scores = scorers[name].scores(tile)
                tile_ranks = rank_held_out(scores, tile, held_out, seen, scorer=name)
                top = select_top_k(scores, tile, seen, longest)[0] if lists else None
                del scores  # before the next scorer's are made
            found.append((tile_ranks, None if top is None else tallies[name].measure(top)))
        return found

    began = time.perf_counter()
    for found in walk(users, work, block_users=block_users):
        for name, (tile_ranks, listed) in zip(names, found, strict=True):
            ranks[name].append(tile_ranks)
            if listed is not None:
                tallies[name].add(listed)
    evaluations = {}
    for name, scorer in scorers.items():
        evaluation = _summarise(users, held_out, ranks[name], k_values)
        if auc:
            n_unseen = scorer.n_items - seen.counts()[users]
            evaluation.per_user["auc"] = auc_from_ranks(evaluation.ranks, evaluation.indptr, n_unseen)
            evaluation.metrics["auc"] = float(evaluation.per_user["auc"].mean())
        if lists:
            evaluation.metrics.update(tallies[name].metrics())
        evaluations[name] = evaluation
    _log(evaluations, k_values[0], time.perf_counter() - began)
    return evaluations


def _is_same_for_all(scorer: Scorer) -> TypeGuard[ItemScorer]:
    """Return whether one order of the items serves every user; numbers that are none take the walk, which tells."""
    return isinstance(scorer, ItemScorer) and bool(np.isfinite(scorer.item_scores).all())


def _log(evaluations: Mapping[str, Evaluation], k: int, seconds: float) -> None:
    one = next(iter(evaluations.values()))
    logger.info(
        "evaluated %d users, %d skipped, %.2f s: recall@%d %s",
        one.n_users,
        one.n_skipped_users,
        seconds,
        k,
        ", ".join(f"{name} {found.metrics[f'recall@{k}']:.4f}" for name, found in evaluations.items()),
    )


def validate(factors: Factors, held_out: UserItemSets, seen: UserItemSets, k: int) -> dict[str, float]:
    """Return {"recall@k", "ndcg@k"} on held-out positives, for looks during a fit.

    The same numbers as ``evaluate``, without lists; at 26,000 x 2,244 with 64 factors about 0.1 s.

    Raises:
        EmptyDataError: No user has a held-out positive.
        DivergedError: The factors give NaN or infinite scores.
    """
    users = _users_with_positives(held_out)
    scorer = FactorScorer(factors)

    def work(tile: IndexVector) -> IndexVector:
        return rank_held_out(scorer.scores(tile), tile, held_out, seen, scorer="validation")

    ranks = list(walk(users, work, block_users=_VALIDATION_BLOCK_USERS))
    metrics = _summarise(users, held_out, ranks, [k]).metrics
    return {name: metrics[name] for name in (f"recall@{k}", f"ndcg@{k}")}


def _users_with_positives(held_out: UserItemSets) -> IndexVector:
    users = np.flatnonzero(held_out.counts()).astype(np.int32)
    if not len(users):
        raise EmptyDataError(
            f"evaluation: none of {len(held_out)} users has a held-out positive; prepare data in which users "
            "have at least two positive events"
        )
    return users


def _summarise(
    users: IndexVector, held_out: UserItemSets, ranks: list[IndexVector], k_values: Sequence[int]
) -> Evaluation:
    # Users without a positive own no entries, so dropping them leaves ``indices`` as it is.
    indptr = np.concatenate([held_out.indptr[:1], held_out.indptr[users + 1]])
    all_ranks = np.concatenate(ranks)
    per_user = metrics_from_ranks(all_ranks, indptr, k_values)
    return Evaluation(
        users=users,
        per_user=per_user,
        metrics={name: float(values.mean()) for name, values in per_user.items()},
        n_skipped_users=len(held_out) - len(users),
        indptr=indptr,
        held_out_items=held_out.indices,
        ranks=all_ranks,
    )
