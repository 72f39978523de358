from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from item_sets import item_sets

from recsys.cf.data.dataset import IdMappings
from recsys.cf.evaluation.baselines import (
    expected_random_recall,
    improvement,
    popularity_scorer,
    random_scorer,
)
from recsys.cf.evaluation.champion import align_factors
from recsys.cf.evaluation.evaluate import evaluate, validate
from recsys.cf.evaluation.strata import strata_by_item_popularity, strata_by_user_activity
from recsys.cf.scoring.blocks import FactorScorer, ItemScorer
from recsys.cf.scoring.topk import recommend
from recsys.errors import ConfigError, DivergedError, EmptyDataError, RegistryError
from recsys.types import Factors


def normal_factors(n_users, n_items, n_factors=8, seed=0):
    rng = np.random.default_rng(seed)
    return Factors(*(rng.standard_normal((n, n_factors), dtype=np.float32) for n in (n_users, n_items)))


@pytest.fixture(scope="module")
def shop():
    rng = np.random.default_rng(2)
    n_users, n_items = 1500, 60
    picks = [rng.choice(n_items, 2 + user % 7, replace=False).tolist() for user in range(n_users)]
    held_out = item_sets([row[: user % 3] for user, row in enumerate(picks)])
    seen = item_sets([row[user % 3 :] for user, row in enumerate(picks)])
    return normal_factors(n_users, n_items), held_out, seen


def items_scorer(*scores):
    return ItemScorer(np.array(scores, dtype=np.float32))


@pytest.mark.parametrize("block_users", [1, 7, 128, 1000])
def test_the_block_size_never_matters(shop, block_users):
    factors, held_out, seen = shop
    scorers = {"model": FactorScorer(factors), "chance": random_scorer(SimpleNamespace(n_items=60), 1)}
    reference = evaluate(scorers, held_out, seen, k_values=[5, 10], block_users=4096)
    found = evaluate(scorers, held_out, seen, k_values=[5, 10], block_users=block_users)
    for name in scorers:
        assert found[name].metrics == reference[name].metrics
        assert np.array_equal(found[name].ranks, reference[name].ranks)


def test_chance_reaches_what_chance_must(shop):
    _, held_out, seen = shop
    chance = evaluate(
        {"chance": random_scorer(SimpleNamespace(n_items=60), 3)},
        held_out,
        seen,
        k_values=[10],
        block_users=512,
    )["chance"]
    values = chance.per_user["recall@10"]
    expected = expected_random_recall(held_out, seen, 60, 10)
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(len(values))


def test_expected_chance_counts_unseen_and_reachable_items():
    # user 0: 1 of 2 held-out items is reachable, 3 of 4 unseen fit; user 1 is skipped; user 2: both unseen fit
    held_out, seen = item_sets([[0, 1], [], [4]]), item_sets([[1], [0], [0, 1, 2]])
    assert expected_random_recall(held_out, seen, 5, 3) == pytest.approx((3 / 4 * 1 / 2 + 1) / 2)


def test_a_missed_user_counts_and_a_user_without_truth_does_not():
    held_out, seen = item_sets([[0], [], [2]]), item_sets([[], [], []])
    evaluation = evaluate({"m": items_scorer(3, 2, 1)}, held_out, seen, k_values=[1], block_users=8)["m"]
    assert evaluation.metrics["recall@1"] == 1 / 2
    assert (evaluation.n_users, evaluation.n_skipped_users) == (2, 1)
    frame = evaluation.to_frame()
    assert frame["user_idx"].to_list() == [0, 2]
    assert frame["recall@1"].to_list() == [1.0, 0.0]


def test_coverage_counts_items_in_somebodys_list_and_novelty_their_rarity():
    held_out, seen = item_sets([[2], [2], []]), item_sets([[0], [1], [1]])
    evaluation = evaluate({"m": items_scorer(4, 3, 2, 1)}, held_out, seen, k_values=[1, 2], block_users=8)[
        "m"
    ]
    # lists of users 0 and 1: [1, 2] and [0, 2]; of 3 users 1 saw item 0, 2 saw item 1, none item 2
    assert evaluation.metrics["coverage@1"] == 2 / 4
    assert evaluation.metrics["coverage@2"] == 3 / 4
    assert evaluation.metrics["novelty@1"] == pytest.approx((-np.log2(3 / 4) - np.log2(2 / 4)) / 2)
    without = evaluate(
        {"m": items_scorer(4, 3, 2, 1)}, held_out, seen, k_values=[1], block_users=8, lists=False
    )["m"]
    assert "coverage@1" not in without.metrics
    assert without.metrics["recall@1"] == evaluation.metrics["recall@1"]


def test_no_truth_and_broken_scores_are_errors():
    nobody, one = item_sets([[], []]), item_sets([[0], []])
    factors = normal_factors(2, 3)
    with pytest.raises(EmptyDataError, match="none of 2 users"):
        validate(factors, nobody, nobody, 10)
    factors.user_factors[0, 0] = np.nan
    with pytest.raises(DivergedError, match="als: NaN"):
        evaluate({"als": FactorScorer(factors)}, one, nobody, k_values=[1], block_users=2)


def dataset(**fields):
    return SimpleNamespace(version="v_1", **fields)


def test_popularity_ranks_by_train_counts_or_by_the_number_sold():
    items = pl.DataFrame({"item_idx": [2, 0, 1], "num_sold_time": [7, None, 2**24 + 1]})
    counts = np.array([5, 1, 3])
    shop = dataset(item_train_counts=counts, items=items)
    users, nothing_seen = np.array([0], dtype=np.int32), item_sets([[]])
    for by, order in (("train_counts", [0, 2, 1]), ("num_sold_time", [1, 2, 0])):
        assert recommend(popularity_scorer(shop, by), users, nothing_seen, 3)[0].tolist() == [order]


def test_popularity_tells_counts_apart_that_float32_cannot():
    shop = dataset(item_train_counts=np.array([2**24, 2**24 + 1]))
    scores = popularity_scorer(shop, "train_counts").scores(np.array([0], dtype=np.int32))
    assert scores[0, 1] > scores[0, 0]


def test_popularity_by_a_missing_number_is_an_error():
    items = pl.DataFrame({"item_idx": [0, 1], "num_sold_time": pl.Series([None, None], dtype=pl.Int64)})
    with pytest.raises(ConfigError, match=r"evaluation\.popularity.*v_1"):
        popularity_scorer(dataset(item_train_counts=np.array([1, 2]), items=items), "num_sold_time")


def test_improvement_is_a_fraction_of_the_baseline():
    assert improvement(0.3, 0.2) == pytest.approx(0.5)
    assert improvement(0.3, 0.0) is None


def test_a_champion_of_the_same_ids_scores_as_it_always_did():
    factors = normal_factors(4, 6)
    ids = IdMappings(list("abcd"), list("uvwxyz"))
    aligned = align_factors(factors, ids, ids, np.zeros(6, dtype=np.float32))
    users = np.arange(4, dtype=np.int32)
    assert np.array_equal(aligned.scores(users), FactorScorer(factors).scores(users))
    assert aligned.known_users.all()
    assert aligned.known_items.all()


def test_a_champion_meets_new_and_gone_users_and_items():
    factors = normal_factors(3, 3)
    champion_ids = IdMappings(["ann", "bob", "cy"], ["p", "q", "r"])
    tonight = IdMappings(["ann", "cy", "dee"], ["o", "p", "r"])
    fallback = np.array([3, 1, 2], dtype=np.float32)
    aligned = align_factors(factors, champion_ids, tonight, fallback)
    scores = aligned.scores(np.array([2, 1], dtype=np.int32))
    assert aligned.known_users.tolist() == [True, True, False]
    assert scores[0].tolist() == [3, 1, 2]  # dee is unknown: popularity
    own = FactorScorer(factors).scores(np.array([2], dtype=np.int32))[0]
    assert scores[1, 1:].tolist() == own[[0, 2]].tolist()
    assert np.isfinite(scores).all()
    assert scores[1, 0] < scores[1, 1:].min()


def test_a_champion_whose_ids_do_not_fit_its_factors_is_refused():
    with pytest.raises(RegistryError, match="2 users and 3 items"):
        align_factors(
            normal_factors(3, 3),
            IdMappings(["a", "b"], ["p", "q", "r"]),
            IdMappings(["a"], ["p"]),
            np.zeros(1, dtype=np.float32),
        )


def test_strata_split_users_and_pairs_and_lose_none(shop):
    factors, held_out, seen = shop
    found = evaluate(
        {"m": FactorScorer(factors), "p": items_scorer(*range(60))},
        held_out,
        seen,
        k_values=[10],
        block_users=512,
    )
    by_user = strata_by_user_activity(found["m"], found["p"], seen.counts(), 10)
    assert [row["label"] for row in by_user] == ["0", "1", "2", "3-5", "6-10"]
    assert sum(row["users"] for row in by_user) == found["m"].n_users
    mean = sum(row["users"] * row["recall@10"] for row in by_user) / found["m"].n_users
    assert mean == pytest.approx(found["m"].metrics["recall@10"])
    item_counts = np.bincount(seen.indices, minlength=60)
    by_item = strata_by_item_popularity(found["m"], found["p"], item_counts, 10)
    assert sum(row["pairs"] for row in by_item) == len(held_out.indices)
    hits = sum(row["pairs"] * row["baseline_recall@10"] for row in by_item)
    assert hits == pytest.approx((found["p"].ranks < 10).sum())


def test_strata_borders():
    held_out, seen = item_sets([[0], [1]]), item_sets([[], []])
    evaluation = evaluate({"m": items_scorer(2, 1)}, held_out, seen, k_values=[1], block_users=2)["m"]
    by_user = strata_by_user_activity(evaluation, evaluation, np.array([5, 6]), 1)
    assert [(row["label"], row["recall@1"]) for row in by_user] == [("3-5", 1.0), ("6-10", 0.0)]
    by_item = strata_by_item_popularity(evaluation, evaluation, np.array([4, 5]), 1)
    assert [(row["label"], row["users"], row["recall@1"]) for row in by_item] == [
        ("0-4 (cold)", 1, 1.0),
        ("5-19", 1, 0.0),
    ]
