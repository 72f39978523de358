"""Scores that are the same for all users: the same ranks and lists as those that are worked out user by user."""

import numpy as np
import pytest
from item_sets import item_sets

from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import ItemScorer
from recsys.cf.scoring.ranks import rank_held_out, select_top_k
from recsys.cf.scoring.same_for_all import SameOrder
from recsys.errors import DivergedError


def random_sets(random, n_users, n_items, most):
    return item_sets(
        [sorted(random.choice(n_items, random.integers(0, most + 1), replace=False)) for _ in range(n_users)]
    )


@pytest.mark.parametrize("seed", range(20))
def test_ranks_and_lists_are_those_of_the_walk(seed):
    random = np.random.default_rng(seed)
    n_users, n_items = 30, int(random.integers(1, 40))
    scores = random.integers(0, 6, n_items).astype(np.float32)  # many ties
    seen, held_out = (random_sets(random, n_users, n_items, min(12, n_items)) for _ in range(2))
    users = random.permutation(n_users).astype(np.int32)
    block = ItemScorer(scores).scores(users)
    order = SameOrder(scores)
    assert np.array_equal(
        order.ranks(users, held_out, seen), rank_held_out(block, users, held_out, seen, scorer="s")
    )
    for k in (1, 10, n_items + 3):
        assert np.array_equal(order.top(users, seen, k), select_top_k(block, users, seen, k)[0])


class Repeated:
    """An ItemScorer that evaluation does not know as one."""

    def __init__(self, scorer):
        self.scorer, self.n_items, self.scores = scorer, scorer.n_items, scorer.scores


def test_an_evaluation_has_the_same_bits_either_way():
    random = np.random.default_rng(9)
    scorer = ItemScorer(random.integers(0, 50, 200).astype(np.float32))
    seen, held_out = random_sets(random, 700, 200, 9), random_sets(random, 700, 200, 4)
    both = evaluate(
        {"fast": scorer, "slow": Repeated(scorer)},
        held_out,
        seen,
        k_values=[5, 20],
        block_users=256,
        auc=True,
    )
    assert both["fast"].metrics == both["slow"].metrics
    assert np.array_equal(both["fast"].ranks, both["slow"].ranks)


def test_numbers_that_are_none_are_refused_as_before():
    scorer = ItemScorer(np.array([1, np.nan, 2], np.float32))
    with pytest.raises(DivergedError, match="NaN"):
        evaluate({"m": scorer}, item_sets([[0]]), item_sets([[]]), k_values=[1], block_users=1)
