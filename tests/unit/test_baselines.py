from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from item_sets import item_sets

from recsys.cf.evaluation.baselines import recent_popularity_scorer, similarity_scorer
from recsys.cf.scoring.blocks import ItemScorer, PartialScorer, ProfileScorer

EVERYONE = np.array([0, 1, 2], dtype=np.int32)
NEWEST = datetime(2026, 3, 1, tzinfo=UTC)


def rows(*given):
    """Return rows from (item_idx, days before the newest, split)."""
    return pl.DataFrame(
        [(item, NEWEST - timedelta(days=age), split) for item, age, split in given],
        schema={"item_idx": pl.Int32, "timestamp": pl.Datetime("us", "UTC"), "split": pl.String},
        orient="row",
    )


def test_recent_popularity_counts_the_last_days_of_train_and_breaks_ties_by_all_days():
    interactions = rows(
        *[(0, 40, "train")] * 9,  # popular once
        *[(1, 5, "train")] * 2,
        *[(2, 5, "train"), (2, 20, "train"), (2, 50, "train")],  # as often lately as item 1, more in all
        *[(3, 0, "train")],
        *[(3, 1, "test")] * 9,  # held out: decides nothing
        (None, 1, "cold"),
    )
    scores = recent_popularity_scorer(interactions, 5, 30).scores(EVERYONE)[0]
    assert np.argsort(-scores).tolist() == [2, 1, 3, 0, 4]
    all_time = recent_popularity_scorer(interactions, 5, 100).scores(EVERYONE)[0]
    assert np.argsort(-all_time).tolist() == [0, 2, 1, 3, 4]


def test_the_window_ends_at_the_newest_train_row_whatever_is_held_out():
    interactions = rows((0, 35, "train"), (0, 35, "train"), (1, 31, "train"), (2, 0, "test"))
    scores = recent_popularity_scorer(interactions, 3, 2).scores(EVERYONE)[0]
    assert np.argsort(-scores).tolist() == [1, 0, 2]


def test_a_profile_is_the_mean_of_what_was_liked():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    scores = ProfileScorer(vectors, item_sets([[0, 1], [2], []])).scores(EVERYONE[[1, 0, 2]])
    np.testing.assert_allclose(scores, [[0.6, 0.8, 1.0], [0.5, 0.5, 0.7], [0, 0, 0]], atol=1e-6)


def test_similarity_puts_items_without_a_vector_last_and_serves_strangers_popularity():
    vectors = np.array([[1, 0], [0, 0], [-1, 0]], dtype=np.float32)
    popularity = ItemScorer(np.array([1, 3, 2], dtype=np.float32))
    scorer = similarity_scorer(vectors, item_sets([[0], [], [1]]), popularity)
    scores = scorer.scores(EVERYONE)
    assert np.argsort(-scores[0]).tolist() == [0, 2, 1]
    assert scores[1].tolist() == scores[2].tolist() == [1, 3, 2]  # nobody's and an undescribed item's fan
    assert np.isfinite(scores).all()


def test_a_partial_scorer_completes_what_another_does_not_know():
    inner = ItemScorer(np.array([-5, 7, -6], dtype=np.float32))
    scorer = PartialScorer(
        inner,
        np.array([True, False, True]),
        np.array([True, False, True]),
        np.array([1, 2, 3], dtype=np.float32),
    )
    scores = scorer.scores(EVERYONE)
    assert scores[1].tolist() == [1, 2, 3]
    assert np.argsort(-scores[0]).tolist() == [0, 2, 1]
    assert scorer.n_items == 3


@pytest.mark.parametrize("users", [[0], [2, 0], [1, 1, 1]])
def test_content_scores_have_the_same_bits_in_every_block(users):
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((300, 48), dtype=np.float32)
    liked = item_sets([rng.choice(300, 6, replace=False).tolist() for _ in range(3)])
    scorer = ProfileScorer(vectors, liked)
    assert np.array_equal(scorer.scores(np.array(users, dtype=np.int32)), scorer.scores(EVERYONE)[users])
