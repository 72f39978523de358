import hashlib

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.demo_behaviour import draw_times
from recsys.errors import ConfigError


def digest(shop):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (shop.reviews, shop.products)]


def pairs(shop):
    rows = pl.read_csv(shop.reviews, infer_schema=False).drop_nulls(["user_id", "product_id"])
    return rows.select("user_id", "product_id").unique()


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    first, second, other = (
        digest(write_demo_shop(tmp_path / name, size="small", seed=seed))
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert first != other


def test_sizes_are_as_promised(tmp_path):
    shop = write_demo_shop(tmp_path, size="small", seed=3)
    rows = pl.read_csv(shop.reviews, infer_schema=False)
    assert rows.columns == ["user_id", "product_id", "rating", "cmt_date", "comment"]
    assert rows.height == shop.raw_rows == 10_000
    assert pairs(shop).height == 9_500
    assert rows["user_id"].drop_nulls().n_unique() == shop.users == 2_000
    products = pl.read_csv(shop.products, infer_schema=False)
    assert products["product_id"].n_unique() == shop.items == 300
    assert set(rows["product_id"].drop_nulls()) <= set(products["product_id"])


def test_other_sizes_by_option(tmp_path):
    shop = write_demo_shop(tmp_path, size="small", seed=3, users=500, items=100, interactions=4_000)
    assert pl.read_csv(shop.reviews).height == 4_000
    assert pairs(shop)["user_id"].n_unique() == 500
    with pytest.raises(ConfigError, match="make no shop"):
        write_demo_shop(tmp_path, size="small", seed=3, items=10)
    with pytest.raises(ConfigError, match="make no shop"):
        write_demo_shop(tmp_path, size="small", seed=3, interactions=2_000)


def test_stars_comments_and_ids_look_like_the_shop(tmp_path):
    shop = write_demo_shop(tmp_path, size="small", seed=3)
    rows = pl.read_csv(shop.reviews, infer_schema=False)
    stars = rows["rating"].value_counts(normalize=True)
    shares = dict(zip(stars["rating"], stars["proportion"], strict=True))
    assert shares["5"] == pytest.approx(0.955, abs=0.01)
    assert 0.15 < rows["comment"].null_count() / rows.height < 0.3
    assert rows["comment"].n_unique() > 1_000
    text = " ".join(rows["comment"].drop_nulls())
    assert "thấm nhanh" in text
    assert "oily skin" in text
    assert rows["user_id"].drop_nulls().str.starts_with("0").any()


def test_later_events_of_a_user_have_later_times(tmp_path):
    shop = write_demo_shop(tmp_path, size="small", seed=3)
    rows = pl.read_csv(shop.reviews, infer_schema=False).drop_nulls(["user_id", "product_id"])
    events = rows.group_by("user_id", "cmt_date").agg(pl.col("product_id").n_unique())
    multi = events.filter(pl.col("product_id") > 1)["product_id"].sum() / rows.height
    assert 0.02 < multi < 0.2


def test_events_of_a_user_never_share_a_time():
    # So many events in two years that some are drawn on the same second.
    user = np.zeros(100_000, dtype=np.int64)
    same_event = np.arange(len(user)) % 10 == 9
    times = draw_times(user, same_event, np.random.default_rng(0))
    assert np.array_equal(np.diff(times) == 0, same_event[1:])
    assert (np.diff(times) >= 0).all()


def test_popularity_is_skewed_and_sales_follow_it(tmp_path):
    shop = write_demo_shop(tmp_path, size="small", seed=3)
    counts = pairs(shop).group_by("product_id").len()
    assert counts["len"].mean() > 2 * counts["len"].median()
    sold = pl.read_csv(shop.products, schema_overrides={"product_id": pl.String})
    both = counts.join(sold, on="product_id")
    ranks = [both[name].rank().to_numpy() for name in ("len", "num_sold_time")]
    assert np.corrcoef(*ranks)[0, 1] > 0.8
