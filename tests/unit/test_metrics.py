from fractions import Fraction
from math import log2

import numpy as np
import polars as pl
import pytest

from recsys.cf.metrics import (
    auc,
    average_precision_at_k,
    evaluate_model,
    hit_rate_at_k,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
    reciprocal_rank_at_k,
)

PREDICTIONS = [7, 3, 9, 1, 5]
RELEVANT = {3, 1, 8}  # hits at positions 2 and 4


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (recall_at_k, 1, Fraction(0)),
        (recall_at_k, 3, Fraction(1, 3)),
        (recall_at_k, 5, Fraction(2, 3)),
        (precision_at_k, 3, Fraction(1, 3)),
        (precision_at_k, 4, Fraction(2, 4)),
        (precision_at_k, 10, Fraction(2, 10)),
        (hit_rate_at_k, 1, Fraction(0)),
        (hit_rate_at_k, 2, Fraction(1)),
        (reciprocal_rank_at_k, 1, Fraction(0)),
        (reciprocal_rank_at_k, 5, Fraction(1, 2)),
        (average_precision_at_k, 5, (Fraction(1, 2) + Fraction(2, 4)) / 3),
        (average_precision_at_k, 2, Fraction(1, 2) / 2),
    ],
)
def test_a_metric_counts_what_a_person_counts(metric, k, expected):
    assert metric(PREDICTIONS, RELEVANT, k) == pytest.approx(float(expected), abs=1e-15)


def test_ndcg_discounts_by_log2_and_divides_by_the_best_list_of_k():
    gain = 1 / log2(3) + 1 / log2(5)
    assert ndcg_at_k(PREDICTIONS, RELEVANT, 5) == pytest.approx(gain / (1 + 1 / log2(3) + 1 / log2(4)))
    assert ndcg_at_k(PREDICTIONS, RELEVANT, 2) == pytest.approx((1 / log2(3)) / (1 + 1 / log2(3)))


@pytest.mark.parametrize(
    ("ranking", "relevant", "expected"),
    [
        ([4, 3, 2, 1], {4}, Fraction(1)),
        ([4, 3, 2, 1], {1}, Fraction(0)),
        ([4, 3, 2, 1], {4, 2}, Fraction(3, 4)),  # of 2 x 2 pairs, (2, 3) is wrong
        ([4, 3, 2, 1], {3, 9}, Fraction(2, 3) / 2),  # 9 cannot be recommended: it loses every pair
        ([4], {4}, Fraction(1)),
        ([4, 3], set(), Fraction(0)),
    ],
)
def test_auc_is_the_share_of_pairs_in_order(ranking, relevant, expected):
    assert auc(ranking, relevant) == pytest.approx(float(expected))


@pytest.mark.parametrize("metric", [recall_at_k, ndcg_at_k, average_precision_at_k, precision_at_k])
def test_nothing_relevant_scores_zero(metric):
    assert metric(PREDICTIONS, set(), 5) == 0.0


@pytest.mark.parametrize(("predictions", "k"), [([1, 2], 0), ([1, 1], 2)])
def test_a_bad_cutoff_or_a_repeated_item_is_refused(predictions, k):
    with pytest.raises(ValueError, match=r"at least 1|twice"):
        recall_at_k(predictions, {1}, k)


def test_evaluate_model_masks_train_items_and_averages_over_users_with_truth():
    V = np.array([[3.0], [2.0], [1.0]], dtype=np.float32)
    U = np.array([[1.0], [1.0], [-1.0]], dtype=np.float32)
    test = {0: {1}, 1: set(), 2: {0}}
    metrics = evaluate_model(U, V, test, {0: {0}, 1: {1}}, [1, 3])
    # user 0: item 0 is masked, item 1 first; user 1 skipped; user 2: order 2, 1, 0
    assert metrics["recall@1"] == 1 / 2
    assert metrics["mrr@3"] == pytest.approx((1 + 1 / 3) / 2)
    assert list(metrics)[:6] == ["recall@1", "ndcg@1", "precision@1", "hit_rate@1", "mrr@1", "map@1"]


def test_evaluate_model_reads_a_frame_as_it_reads_sets():
    rng = np.random.default_rng(5)
    U, V = (rng.standard_normal((n, 2)).astype(np.float32) for n in (3, 6))
    frame = pl.DataFrame({"user_idx": [0, 2, 2], "item_idx": [4, 1, 5]})
    assert evaluate_model(U, V, frame, {}, [2]) == evaluate_model(U, V, {0: {4}, 2: {1, 5}}, {}, [2])


def test_ties_go_to_the_lower_item_idx():
    U, V = np.ones((1, 1), dtype=np.float32), np.ones((4, 1), dtype=np.float32)
    assert evaluate_model(U, V, {0: {0}}, {}, [1])["recall@1"] == 1.0
    assert evaluate_model(U, V, {0: {1}}, {}, [1])["recall@1"] == 0.0
