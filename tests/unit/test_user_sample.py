"""The sample of users that is scored where all would take hours."""

import numpy as np
import pytest
from item_sets import item_sets

from recsys.cf.scoring.blocks import FactorScorer
from recsys.cf.scoring.score_range import measure_score_range
from recsys.cf.scoring.user_sample import FEWEST_USERS, sample_sets, sample_users, users_within
from recsys.types import Factors, ScoreRange


def test_users_times_items_stay_below_the_limit_but_for_the_fewest_users():
    assert users_within(2_244, 10**9) == 445_632  # the shop of the specification: all its 26,000 users
    for n_items in (1, 2_244, 22_440, 224_400):
        assert users_within(n_items, 10**9) * n_items <= 10**9
    assert users_within(10**7, 10**9) == FEWEST_USERS


def test_a_sample_is_seeded_ordered_and_each_user_as_likely():
    users = np.arange(100, 1_100, dtype=np.int32)
    assert sample_users(users, 1_000, 0) is users
    assert sample_users(users, None, 0) is users
    sample = sample_users(users, 50, 0)
    assert (np.diff(sample) > 0).all()
    assert len(sample) == 50
    assert sample.dtype == np.int32
    assert np.array_equal(sample, sample_users(users, 50, 0))
    assert not np.array_equal(sample, sample_users(users, 50, 1))
    drawn = np.bincount(np.concatenate([sample_users(users, 50, seed) for seed in range(400)]) - 100)
    # 400 draws of 5 %: 20 each, with a standard deviation of 4.4
    assert drawn.sum() == 400 * 50
    assert drawn.min() >= 3
    assert drawn.max() < 45


def test_sets_of_a_sample_keep_their_rows_and_lose_the_others():
    sets = item_sets([[1, 2], [], [0], [3], [1]])
    assert sample_sets(sets, 4, 0) is sets
    sampled = sample_sets(sets, 2, 0)
    assert len(sampled) == 5
    kept = np.flatnonzero(sampled.counts())
    assert len(kept) == 2
    for user in kept:
        assert sampled[user] == sets[user]


@pytest.fixture(scope="module")
def factors():
    random = np.random.default_rng(0)
    return Factors(*(random.normal(size=(n, 8)).astype(np.float32) for n in (6_000, 40)))


def measured(factors, **limits):
    users = np.arange(0, 6_000, dtype=np.int32)
    return measure_score_range(
        FactorScorer(factors), users, item_sets([[]] * 6_000), method="test_set", block_users=512,
        max_exact_samples=10**7, **limits,
    )  # fmt: skip


def test_a_range_of_a_sample_says_so_and_is_close_to_that_of_all(factors):
    whole, sampled = measured(factors), measured(factors, max_scores=40 * 3_000, seed=5)
    assert whole.to_json() == measured(factors, max_scores=40 * 6_000).to_json()
    assert "n_users" not in whole.to_json()  # today's documents do not change
    assert (sampled.method, sampled.n_users, sampled.n_users_sampled_from) == (
        "test_set_sample",
        3_000,
        6_000,
    )
    assert sampled.num_samples == 40 * 3_000
    for name in ("mean", "p01", "p50", "p99"):
        assert getattr(sampled, name) == pytest.approx(getattr(whole, name), abs=0.1 * whole.std)
    assert ScoreRange.from_json(sampled.to_json()) == sampled
    assert ScoreRange.from_json(whole.to_json()) == whole
    assert sampled == measured(factors, max_scores=40 * 3_000, seed=5)
