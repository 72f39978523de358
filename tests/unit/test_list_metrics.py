import itertools

import numpy as np
import pytest
from item_sets import item_sets

from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.evaluation.lists import ListTally, unit_rows
from recsys.cf.scoring.blocks import FactorScorer
from recsys.types import Factors


def tally(*lists, n_items=6, k=3, vectors=None):
    found = ListTally(n_items, item_sets([[0], [0, 1]]), [k], vectors)
    for block in lists:
        found.add(found.measure(np.array(block, dtype=np.int32)))
    return found.metrics()


def test_lists_are_counted_over_all_blocks_and_padding_is_no_item():
    metrics = tally([[0, 1, -1]], [[1, 2, -1], [-1, -1, -1]])
    assert metrics["coverage@3"] == 3 / 6
    # item 0 was seen by 2 of 2 users, item 1 by 1, item 2 by none; listed once, twice, once
    information = [-np.log2(3 / 3), -np.log2(2 / 3), -np.log2(1 / 3)]
    assert metrics["novelty@3"] == pytest.approx((information[0] + 2 * information[1] + information[2]) / 4)
    assert "diversity@3" not in metrics


def test_nothing_listed_covers_nothing():
    assert tally([[-1, -1, -1]]) == {"coverage@3": 0.0, "novelty@3": 0.0}


def test_diversity_is_the_mean_distance_over_pairs():
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((40, 8), dtype=np.float32)
    vectors[[3, 4]] = 0  # without an embedding
    lists = np.array([rng.choice(40, 5, replace=False) for _ in range(50)] + [[3, 4, 0, -1, -1]], np.int32)

    def distance(a, b):
        return 1 - vectors[a] @ vectors[b] / np.linalg.norm(vectors[a]) / np.linalg.norm(vectors[b])

    means = []
    for row in lists.tolist():
        described = [item for item in row if item not in (-1, 3, 4)]
        if len(described) >= 2:
            means.append(np.mean([distance(a, b) for a, b in itertools.combinations(described, 2)]))
    found = tally(lists, n_items=40, k=5, vectors=vectors)["diversity@5"]
    assert len(means) == 50
    assert found == pytest.approx(np.mean(means), abs=1e-5)


def test_equal_items_have_no_diversity_and_opposite_ones_two():
    vectors = np.array([[2, 0], [4, 0], [-1, 0]], dtype=np.float32)
    assert tally([[0, 1]], n_items=3, k=2, vectors=vectors)["diversity@2"] == pytest.approx(0)
    assert tally([[0, 2]], n_items=3, k=2, vectors=vectors)["diversity@2"] == pytest.approx(2)


def test_unit_rows_leave_zero_rows():
    rows = unit_rows(np.array([[3, 4], [0, 0]], dtype=np.float32))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
    assert rows.dtype == np.float32


def test_an_evaluation_has_diversity_where_items_have_vectors():
    rng = np.random.default_rng(1)
    factors = Factors(*(rng.standard_normal((n, 3), dtype=np.float32) for n in (9, 12)))
    arguments = ({"m": FactorScorer(factors)}, item_sets([[0]] * 9), item_sets([[1]] * 9))
    found = evaluate(*arguments, k_values=[2, 4], block_users=128, item_vectors=factors.item_factors)["m"]
    assert 0 <= found.metrics["diversity@2"] <= 2
    assert {"coverage@4", "novelty@4", "diversity@4"} <= set(found.metrics)
