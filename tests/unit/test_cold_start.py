from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from item_sets import item_sets

from recsys.cf.evaluation.cold_start import cold_items, cold_users
from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.scoring.blocks import ItemScorer

COUNTS = np.array([40, 4, 5, 0])
# two kinds of items by content: 0 and 1, 2 and 3
VECTORS = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
POPULARITY = ItemScorer(np.array([3, 1, 2, 0], dtype=np.float32))


def evaluation(*scores, held_out=((1, 2), (3,))):
    scorer = ItemScorer(np.array(scores, dtype=np.float32))
    sets = item_sets([list(row) for row in held_out])
    return evaluate({"m": scorer}, sets, item_sets([[]] * len(held_out)), k_values=[1, 2], block_users=1)["m"]


def test_cold_items_are_those_with_fewer_than_five_and_pairs_are_counted():
    model, popularity = evaluation(0, 2, 1, 3), evaluation(3, 1, 2, 0)
    found = cold_items(model, popularity, COUNTS, [1, 2])
    # the cold pairs are (0, 1) and (1, 3); the model ranks 3 first and 1 second
    assert found == {
        "cold_threshold": 5,
        "items": 2,
        "pairs": 2,
        "users": 2,
        "recall@1": 0.5,
        "baseline_recall@1": 0.0,
        "recall@2": 1.0,
        "baseline_recall@2": 0.0,
        "improvement_vs_random": None,
    }


def test_improvement_vs_random_is_relative_to_the_same_model_from_random_factors():
    bert, plain = evaluation(0, 2, 1, 3), evaluation(0, 1, 2, 3)
    assert cold_items(bert, plain, COUNTS, [2], random_init=plain)["improvement_vs_random"] == pytest.approx(
        1.0
    )
    nothing = evaluation(3, 1, 2, 0)
    assert cold_items(bert, plain, COUNTS, [2], random_init=nothing)["improvement_vs_random"] is None


def test_without_cold_pairs_there_is_no_recall():
    model = evaluation(0, 2, 1, 3, held_out=((0,),))
    found = cold_items(model, model, COUNTS, [1])
    assert (found["pairs"], found["users"], found["recall@1"]) == (0, 0, None)


def rows(*given):
    """Return cleaned rows from (user, user_idx, item_idx, positive, trainable, day, split)."""
    names = ["user_id", "user_idx", "item_idx", "is_positive", "is_trainable_user", "timestamp", "split"]
    opened = datetime(2026, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        [(*one[:5], opened + timedelta(days=one[5]), one[6]) for one in given],
        schema=dict(
            zip(
                names,
                [pl.String, pl.Int32, pl.Int32, pl.Boolean, pl.Boolean, pl.Datetime("us", "UTC"), pl.String],
                strict=True,
            )
        ),
        orient="row",
    )


SHOP = rows(
    ("ann", 0, 0, True, True, 1, "train"),  # the first event, two items of one kind
    ("ann", 0, 1, True, True, 1, "train"),
    ("ann", 0, 2, True, True, 5, "train"),
    ("ann", 0, 3, True, True, 9, "test"),
    ("bob", 1, 2, True, True, 2, "train"),
    ("bob", 1, 3, True, True, 3, "test"),
    ("cy", 2, 0, False, True, 1, "train"),  # nothing liked in train: no newcomer can be made of him
    ("cy", 2, 1, True, True, 4, "test"),
    ("dee", None, 0, True, False, 1, "cold"),
    ("eve", None, 3, True, False, 1, "cold"),
    ("eve", None, None, True, False, 1, "cold"),  # an item nobody else liked
    ("fay", None, 2, False, False, 1, "cold"),  # disliked
)
HELD_OUT, SEEN = item_sets([[3], [3], [1]]), item_sets([[0, 1, 2], [2], [0]])


def measured(interactions=SHOP, vectors=VECTORS):
    return cold_users(interactions, HELD_OUT, SEEN, POPULARITY, vectors, k_values=[1], block_users=1)


def test_strangers_get_popularity_and_are_asked_what_they_bought():
    found = measured()["no_history"]
    assert found["users"] == 2  # dee and eve
    assert found["popularity"]["recall@1"] == 1 / 2


def test_newcomers_are_known_by_their_first_event_only():
    found = measured()["one_event"]
    assert found["users"] == 2  # ann and bob
    # ann has one item left, which both find; bob came with 2, content finds 3, popularity offers 0
    assert found["content"]["recall@1"] == 1.0
    assert found["popularity"]["recall@1"] == 1 / 2


def test_later_items_do_not_leak_into_the_profile_of_a_newcomer():
    held_out, seen = item_sets([[3], [], []]), item_sets([[], [], []])
    found = cold_users(SHOP, held_out, seen, POPULARITY, VECTORS, k_values=[1, 3], block_users=1)["one_event"]
    # by 0 and 1 alone, items of the other kind come last; with item 2 in the profile, 3 would be third
    assert found["content"]["recall@3"] == 0.0
    assert found["popularity"]["recall@3"] == 0.0


def test_without_embeddings_popularity_alone_serves_newcomers():
    assert set(measured(vectors=None)["one_event"]) == {"users", "popularity"}


def test_a_shop_without_such_users_says_so():
    trained = SHOP.filter((pl.col("split") != "train") & pl.col("is_trainable_user"))
    assert measured(trained) == {"no_history": None, "one_event": None}
