import numpy as np
import polars as pl
from reviews import LENIENT, raw_reviews

from recsys.cf.data.build import build_dataset
from recsys.cf.data.prepare import prepare_interactions
from recsys.config.schema import DataConfig

# u: a liked, b disliked, then c held out. v: c and a liked, b held out. w is cold.
ROWS = [
    ("u", "a", 5, 1), ("u", "b", 2, 2), ("u", "c", 4, 3),
    ("v", "c", 5, 1), ("v", "a", 5, 1), ("v", "b", 5, 2),
    ("w", "a", 1, 1),
]  # fmt: skip


def build(rows=ROWS, items=None, config=LENIENT):
    interactions, _ = prepare_interactions(raw_reviews(rows), config, seed=0)
    return build_dataset(interactions, items, config, content_hash="0" * 64)


def item_table(sold):
    return pl.DataFrame(
        {"item_id": list(sold), "title": [None] * len(sold), "num_sold_time": list(sold.values())},
        schema={"item_id": pl.String, "title": pl.String, "num_sold_time": pl.Float64},
    )


def test_matrices_hold_train_rows_with_their_confidence():
    dataset = build()
    assert dataset.mappings.user_ids == ("u", "v")
    assert dataset.mappings.item_ids == ("a", "b", "c")
    # No comment: confidence = rating + 0.5.
    assert dataset.X_train_confidence.toarray().tolist() == [[5.5, 2.5, 0], [5.5, 0, 5.5]]
    assert dataset.X_train_binary.toarray().tolist() == [[1, 0, 0], [1, 0, 1]]
    assert dataset.X_train_confidence.dtype == dataset.X_train_binary.dtype == np.float32
    assert [dataset.user_pos_train[user] for user in (0, 1)] == [{0}, {0, 2}]


def test_hard_negatives_are_the_disliked_and_the_popular_never_touched():
    negatives = build().user_hard_neg_train
    assert negatives[0] == {"explicit": {1}, "implicit": {2}}
    # b is held out for v, and still a candidate: sparing it would tell training what the test is.
    assert negatives[1] == {"explicit": frozenset(), "implicit": {1}}


def test_held_out_rows_are_the_positives():
    dataset = build()
    assert dataset.test_interactions.select("user_id", "item_id").rows() == [("u", "c"), ("v", "b")]
    assert dataset.held_out("test")[1] == {1}


def test_popularity_is_log_counts_of_train():
    dataset = build()
    assert dataset.item_train_counts.tolist() == [2, 1, 1]
    assert np.allclose(dataset.item_popularity, np.log([3, 2, 2]))


def test_top_items_by_sales_when_given_else_by_train_counts():
    assert build().top_k_popular_items.tolist() == [0, 1, 2]
    assert build(items=item_table({"c": 9.0, "b": 3.0})).top_k_popular_items.tolist() == [2, 1, 0]
    assert build(
        config=DataConfig(min_item_positives=1, top_popular_items=2)
    ).top_k_popular_items.tolist() == [0, 1]


def test_items_the_product_file_does_not_know_stay():
    items = build(items=item_table({"c": 9.0, "unknown": 1.0})).items
    assert items["item_id"].to_list() == ["a", "b", "c"]
    assert items["num_sold_time"].to_list() == [None, None, 9.0]


def test_user_metadata_starts_with_the_matrix_rows_and_knows_the_cold():
    assert build().user_metadata.rows() == [
        ("u", 0, 3, 2, True),
        ("v", 1, 3, 3, True),
        ("w", None, 1, 0, False),
    ]
