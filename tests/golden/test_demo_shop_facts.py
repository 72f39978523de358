"""The synthetic shop has the numbers of the real one, and tastes that collaborative filtering finds."""

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.storage.memory import MemoryStore


def prepared(directory, size, seed=42):
    shop = write_demo_shop(directory, size=size, seed=seed)
    store = MemoryStore()
    return shop, prepare(store, shop.reviews, shop.products, DataConfig(), seed=0), load_processed_data(store)


def dropped(result):
    return {step.reason: step.rows for step in result.funnel}


def test_the_real_size_has_the_funnel_of_the_real_shop(tmp_path):
    shop, result, dataset = prepared(tmp_path, "real")
    reasons = dropped(result)
    cleaned = result.rows_in - sum(
        step.rows for step in result.funnel if step.step not in ("segment", "split")
    )
    assert (shop.users, shop.items, result.rows_in, cleaned) == (304_708, 2_231, 369_099, 338_044)
    users = dataset.user_metadata
    trainable = users.filter((pl.col("interactions") >= 2) & (pl.col("positives") >= 1))
    assert trainable.height == 28_433  # 9.33 % of the users
    assert trainable["interactions"].sum() == 61_720 == cleaned - reasons["cold_start_user"]
    assert users["interactions"].max() == 12
    shares = dataset.stats["rating_shares"]
    for star, share in {"1": 0.0066, "2": 0.0037, "3": 0.0092, "4": 0.0256, "5": 0.9549}.items():
        assert shares[star] == pytest.approx(share, abs=0.001)
    assert 1_000 <= result.items <= 1_400
    assert 30_000 <= result.train <= 36_000
    assert result.test_users > 4_000
    assert dataset.stats["multi_row_event_share"] < 0.2
    assert dataset.stats["distributions"]["confidence"]["mean"] == pytest.approx(5.49, abs=0.05)
    assert result.warnings == ()
    reviews = pl.read_csv(shop.reviews, infer_schema=False).drop_nulls(["user_id", "product_id"])
    per_item = reviews.select("user_id", "product_id").unique().group_by("product_id").len()["len"]
    assert per_item.mean() == pytest.approx(151, abs=1)
    assert per_item.median() == pytest.approx(23, abs=4)


def test_the_specified_size_keeps_every_user_and_item(tmp_path):
    _, result, _ = prepared(tmp_path, "spec")
    assert (result.rows_in, result.users, result.items) == (369_000, 26_000, 2_244)
    assert result.test_users > 25_000


def recall_at_10(dataset, scores):
    scores = np.where(dataset.X_train_confidence.toarray() > 0, -np.inf, scores)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    truth = dataset.held_out("test")
    return np.mean([len(truth[u] & set(top[u].tolist())) / len(truth[u]) for u in truth if truth[u]])


def test_factors_beat_popularity_on_the_small_size(tmp_path):
    als = pytest.importorskip("implicit.als")
    _, _, dataset = prepared(tmp_path, "small")
    popularity = np.tile(dataset.item_train_counts, (dataset.n_users, 1))
    weighted = dataset.X_train_confidence.copy()
    weighted.data = 1 + 8 * (weighted.data - 1) / 5
    model = als.AlternatingLeastSquares(
        factors=32, regularization=50, alpha=1, iterations=15, random_state=1, num_threads=1
    )
    model.fit(weighted, show_progress=False)
    assert recall_at_10(dataset, model.user_factors @ model.item_factors.T) > 1.6 * recall_at_10(
        dataset, popularity
    )
