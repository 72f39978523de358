import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from item_sets import item_sets
from threadpoolctl import threadpool_info

from recsys.cf.scoring.blocks import TILE_USERS, FactorScorer, ItemScorer, RandomScorer
from recsys.cf.scoring.ranks import NEVER, rank_held_out, select_top_k, unseen_scores
from recsys.cf.scoring.topk import recommend
from recsys.errors import DivergedError
from recsys.types import Factors

USER = np.array([0], dtype=np.int32)


def row(*scores):
    return np.array([scores], dtype=np.float32)


def normal_factors(n_users, n_items, n_factors, seed=0):
    rng = np.random.default_rng(seed)
    return Factors(*(rng.standard_normal((n, n_factors), dtype=np.float32) for n in (n_users, n_items)))


@pytest.mark.parametrize(
    ("seen", "held_out", "ranks"),
    [
        ([], [0, 1, 2, 3], [2, 0, 3, 1]),  # 1 and 3 tie, so do 0 and 2: the lower item first
        ([1], [0, 3], [1, 0]),
        ([0, 1, 3], [2], [0]),
        ([3], [1, 3], [0, NEVER]),
    ],
)
def test_a_rank_counts_the_unseen_items_above(seen, held_out, ranks):
    scores = row(1, 5, 1, 5)
    found = rank_held_out(scores, USER, item_sets([held_out]), item_sets([seen]), scorer="als")
    assert found.tolist() == ranks


def test_ranks_come_user_by_user_in_the_order_asked():
    scores = np.array([[1, 2, 3], [3, 2, 1]], dtype=np.float32)
    users = np.array([2, 0], dtype=np.int32)
    held_out, seen = item_sets([[0, 1], [2], [0]]), item_sets([[], [], [2]])
    ranks = rank_held_out(scores, users, held_out, seen, scorer="als")
    assert ranks.tolist() == [1, 0, 1]  # user 2: item 0 behind item 1, item 2 seen; user 0: items 0 and 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_an_error_that_names_scorer_and_user(bad):
    scores = np.array([[1, 2], [1, bad]], dtype=np.float32)
    users, sets = np.array([4, 7], dtype=np.int32), item_sets([[0]] * 8)
    with pytest.raises(DivergedError, match=r"bpr.*user_idx 7"):
        rank_held_out(scores, users, sets, sets, scorer="bpr")
    with pytest.raises(DivergedError, match="user_idx 0"):
        recommend(ItemScorer(scores[1]), USER, item_sets([[]]), 1)


def test_top_k_skips_seen_items_and_pads():
    items, values = select_top_k(row(1, 5, 1, 5, 9), USER, item_sets([[1, 4]]), 4)
    assert items.tolist() == [[3, 0, 2, -1]]
    assert values[0, :3].tolist() == [5, 1, 1]
    assert np.isnan(values[0, 3])


def test_selecting_leaves_the_scores_as_they_were():
    scores = row(1, 5, 1, 5, 9)
    select_top_k(scores, USER, item_sets([[1, 4]]), 2)
    assert scores.tolist() == [[1, 5, 1, 5, 9]]


@pytest.mark.parametrize("k", [1, 3, 20, 400])
def test_groups_of_items_lose_nobody(k):
    # few distinct scores: the border of the list runs through a tie nearly always
    rng = np.random.default_rng(k)
    scores = rng.integers(0, 30, (50, 333)).astype(np.float32)
    seen = item_sets([rng.choice(333, 40, replace=False).tolist() for _ in range(50)])
    items, values = select_top_k(scores, np.arange(50, dtype=np.int32), seen, k)
    for user in range(50):
        order = [item for item in np.argsort(-scores[user], kind="stable").tolist() if item not in seen[user]]
        expected = order[:k] + [-1] * max(0, k - len(order))
        assert items[user].tolist() == expected
        assert values[user, : len(order)].tolist() == scores[user, order[:k]].tolist()


def test_unseen_scores_come_user_by_user():
    scores = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32)
    users = np.array([2, 0], dtype=np.int32)
    assert unseen_scores(scores, users, item_sets([[0, 2], [], []])).tolist() == [1, 2, 3, 5]


def test_recommend_equals_a_full_sort():
    factors = normal_factors(300, 40, 5)
    seen = item_sets(
        [[user % 40, (user * 7) % 40] if user % 40 != (user * 7) % 40 else [0] for user in range(300)]
    )
    users = np.array([5, 299, 0, 5], dtype=np.int32)
    items, values = recommend(FactorScorer(factors), users, seen, 6)
    for user, found, scores in zip(users.tolist(), items, values, strict=True):
        exact = FactorScorer(factors).scores(np.array([user], dtype=np.int32))[0]
        order = [item for item in np.argsort(-exact, kind="stable").tolist() if item not in seen[user]]
        assert found.tolist() == order[:6]
        assert scores.tolist() == exact[order[:6]].tolist()


def test_recommend_refuses_k_below_one():
    with pytest.raises(ValueError, match="at least 1"):
        recommend(RandomScorer(3, 0), USER, item_sets([[]]), 0)


@pytest.mark.parametrize(("n_items", "n_factors"), [(1, 1), (17, 3), (391, 33), (500, 64)])
def test_factor_scores_are_dot_products_with_the_same_bits_in_every_block(n_items, n_factors):
    factors = normal_factors(2 * TILE_USERS + 3, n_items, n_factors)
    scorer = FactorScorer(factors)
    everyone = np.arange(factors.n_users, dtype=np.int32)
    scores = scorer.scores(everyone)
    exact = factors.user_factors.astype(np.float64) @ factors.item_factors.astype(np.float64).T
    np.testing.assert_allclose(scores, exact, rtol=1e-4, atol=1e-4)
    shuffled = np.random.default_rng(1).permutation(everyone)
    for block in (everyone[:1], shuffled[:5], shuffled):
        assert np.array_equal(scorer.scores(block), scores[block])


def test_random_scores_are_uniform_and_belong_to_seed_user_and_item():
    scorer = RandomScorer(200, seed=3)
    users = np.arange(500, dtype=np.int32)
    scores = scorer.scores(users)
    assert np.array_equal(scorer.scores(users[[9, 4]]), scores[[9, 4]])
    assert not np.array_equal(RandomScorer(200, seed=4).scores(users), scores)
    share, _ = np.histogram(scores, bins=20, range=(0, 1))
    assert share.sum() == scores.size  # all in [0, 1]
    # chi square with 19 degrees of freedom: beyond 50 about once in 7,000 generators
    assert ((share - scores.size / 20) ** 2 / (scores.size / 20)).sum() < 50
    assert abs(np.corrcoef(scores[:, 0], scores[:, 1])[0, 1]) < 0.2


def test_item_scores_may_be_changed_without_touching_the_scorer():
    scorer = ItemScorer(np.array([1, 2], dtype=np.float32))
    scorer.scores(USER)[:] = 0
    assert scorer.scores(USER).tolist() == [[1, 2]]


def n_blas_threads():
    return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_threads_come_back_after_scoring_in_two_threads():
    before = n_blas_threads()
    factors = normal_factors(2 * TILE_USERS, 50, 8)
    users = np.arange(factors.n_users, dtype=np.int32)
    with ThreadPoolExecutor(2) as pool:
        scores = list(pool.map(lambda _: FactorScorer(factors).scores(users), range(20)))
    assert all(np.array_equal(scores[0], other) for other in scores)
    assert n_blas_threads() == before


KERNELS = """
import json, sys
import numpy as np
from recsys.cf.data.dataset import UserItemSets
from recsys.cf.scoring.ranks import rank_held_out, select_top_k, unseen_scores
rng = np.random.default_rng(11)
scores = rng.integers(0, 4, (6, 9)).astype(np.float32)
def sets(n):
    rows = [np.sort(rng.choice(9, n, replace=False)).astype(np.int32) for _ in range(6)]
    return UserItemSets(np.arange(7, dtype=np.int64) * n, np.concatenate(rows))
held_out, seen, users = sets(3), sets(4), np.array([3, 0, 5, 1, 2, 4], dtype=np.int32)
items, values = select_top_k(scores, users, seen, 6)
json.dump([rank_held_out(scores, users, held_out, seen, scorer="x").tolist(), items.tolist(),
           np.nan_to_num(values, nan=-1).tolist(), unseen_scores(scores, users, seen).tolist()], sys.stdout)
"""


def test_the_kernels_give_the_same_with_the_compiler_off():
    def run(**environment):
        done = subprocess.run(
            [sys.executable, "-c", KERNELS],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return json.loads(done.stdout)

    assert run(NUMBA_DISABLE_JIT="1") == run(NUMBA_NUM_THREADS="1")
