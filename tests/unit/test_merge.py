"""Held-out rows back in train: against matrices built from the table of all rows."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import coo_matrix

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.merge import train_on
from recsys.cf.data.prepare import prepare
from recsys.cf.sampling.pools import build_pools
from recsys.config.schema import DataConfig
from recsys.storage.local import LocalStore


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return (dataset, table of all its cleaned rows)."""
    place = tmp_path_factory.mktemp("merge")
    write_demo_shop(place / "raw", size="small", seed=4)
    store = LocalStore(place / "store")
    version = prepare(store, place / "raw" / "reviews.csv", None, DataConfig(), seed=1).version
    store.get_file(f"data/versions/{version}/interactions.parquet", place / "rows.parquet")
    return load_processed_data(store, version), pl.read_parquet(place / "rows.parquet")


def dense(rows, values, shape):
    place = (rows["user_idx"].to_numpy(), rows["item_idx"].to_numpy())
    return coo_matrix((values, place), shape=shape).toarray()


@pytest.mark.parametrize("splits", [["validation"], ["validation", "test"]])
def test_matrices_equal_those_of_the_table(shop, splits):
    data, table = shop
    merged = train_on(data, splits)
    rows = table.filter(pl.col("split").is_in(["train", *splits]))
    shape = data.X_train_confidence.shape
    confidence = dense(rows, rows["confidence"].to_numpy(), shape)
    liked = rows.filter("is_positive")
    np.testing.assert_array_equal(merged.X_train_confidence.toarray(), confidence)
    np.testing.assert_array_equal(merged.X_train_binary.toarray(), dense(liked, np.ones(liked.height), shape))
    counts = np.bincount(rows["item_idx"].to_numpy(), minlength=data.n_items)
    np.testing.assert_array_equal(merged.item_train_counts, counts)
    np.testing.assert_allclose(merged.item_popularity, np.log1p(counts), rtol=1e-6)
    assert merged.X_train_confidence.nnz == data.X_train_confidence.nnz + sum(
        data.held_out(split).counts().sum() for split in splits
    )
    assert merged.X_train_confidence.dtype == merged.X_train_binary.dtype == np.float32


def test_item_sets_follow_and_moved_splits_are_empty(shop):
    data, _ = shop
    merged = train_on(data, ["validation"])
    held_out = data.held_out("validation")
    assert merged.held_out("validation").counts().sum() == 0
    np.testing.assert_array_equal(merged.held_out("test").indices, data.held_out("test").indices)
    for user in np.flatnonzero(held_out.counts())[:200].tolist():
        assert merged.user_seen_train[user] == data.user_seen_train[user] | held_out[user]
        assert merged.user_pos_train[user] == data.user_pos_train[user] | held_out[user]
        assert not merged.user_hard_neg_train[user]["implicit"] & held_out[user]
    assert merged.user_hard_neg_train.explicit is data.user_hard_neg_train.explicit
    pools = build_pools(
        merged.X_train_binary, merged.user_seen_train, merged.user_hard_neg_train, merged.item_popularity
    )
    assert pools.n_positives == merged.X_train_binary.nnz


def test_the_original_is_left_as_it_was(shop):
    data, _ = shop
    before = (data.X_train_confidence.data.copy(), data.val_interactions.height)
    train_on(data, ["validation", "test"])
    np.testing.assert_array_equal(data.X_train_confidence.data, before[0])
    assert data.val_interactions.height == before[1]
