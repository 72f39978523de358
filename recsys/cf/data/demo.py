"""A synthetic shop: raw CSV files with the sizes, the skew and the dirt of a real one, and tastes to be learned."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.demo_behaviour import (
    Catalogue,
    IndexArray,
    ShopShape,
    draw_catalogue,
    draw_items,
    draw_row_counts,
    draw_times,
)
from recsys.cf.data.demo_text import product_names, review_comments
from recsys.errors import ConfigError
from recsys.rng import generator

logger = logging.getLogger(__name__)

DemoSize = Literal["small", "spec", "real"]

SHAPES: dict[DemoSize, ShopShape] = {
    "small": ShopShape(
        users=2_000, trainable_users=1_500, items=300, raw_rows=10_000, unique_rows=9_500, trainable_rows=9_000,
        dirty_rows=60, tastes=8, min_rows=2, max_rows=40, spread=1.0, floor=0.15, pull=3.0,
    ),
    "spec": ShopShape(
        users=26_000, trainable_users=26_000, items=2_244, raw_rows=369_000, unique_rows=368_000,
        trainable_rows=368_000, dirty_rows=200, tastes=40, min_rows=4, max_rows=200, spread=0.8, floor=0.12, pull=1.3,
    ),
    "real": ShopShape(
        users=304_708, trainable_users=28_433, items=2_231, raw_rows=369_099, unique_rows=338_044,
        trainable_rows=61_720, dirty_rows=300, tastes=40, min_rows=2, max_rows=12, spread=2.5, floor=0.04, pull=1.6,
    ),
}  # fmt: skip

_STAR_SHARES = (0.0066, 0.0037, 0.0092, 0.0256, 0.9549)  # of 1 to 5 stars
# Share of rows that belong to the same event as the user's row before.
_SAME_EVENT_SHARE = 0.10
_EXACT_COPY_SHARE = 0.6  # of duplicates; the others are older reviews of the same item
_OPENED_AT = 1_672_531_200  # 2023-01-01 UTC
_OLDEST_REVIEW_SECONDS = 90 * 86_400
_DIRT = ("user_id", "product_id", "rating", "cmt_date", "out_of_range")


@dataclass(frozen=True)
class DemoShop:
    """Where the files of a synthetic shop lie and how large it is."""

    reviews: Path
    products: Path
    users: int
    items: int
    raw_rows: int


def write_demo_shop(
    directory: Path,
    *,
    size: DemoSize,
    seed: int,
    users: int | None = None,
    items: int | None = None,
    interactions: int | None = None,
) -> DemoShop:
    """Write reviews.csv and products.csv into ``directory`` and return where they are.

    Same arguments, same bytes. Columns: user_id, product_id, rating, cmt_date, comment; product_id,
    product_name, description, brand, category, num_sold_time. Ids have leading zeros. "real" takes about ten
    seconds and 90 MB of disk.

    Args:
        size: "small" (2,000 users x 300 items, for tests), "spec" (26,000 trainable users x 2,244 items, 369,000
            rows) or "real" (304,708 users x 2,231 items, 369,099 rows, one in eleven users trainable).
        users, items, interactions: other numbers of users, items and raw rows, everything else in proportion.

    Raises:
        ConfigError: the numbers cannot make a shop.
    """
    shape = _scaled(SHAPES[size], users, items, interactions)
    catalogue = draw_catalogue(shape, generator(seed, "demo", "catalogue"))
    rows = _unique_rows(shape, catalogue, seed)
    rows = _with_dirt(_with_duplicates(rows, shape, seed), shape, seed)
    directory.mkdir(parents=True, exist_ok=True)
    shop = DemoShop(
        directory / "reviews.csv", directory / "products.csv", shape.users, shape.items, rows.height
    )
    rows.write_csv(shop.reviews)
    _products(shape, catalogue, seed).write_csv(shop.products)
    logger.info("demo shop users=%d items=%d rows=%d in %s", shop.users, shop.items, shop.raw_rows, directory)
    return shop


def _scaled(shape: ShopShape, users: int | None, items: int | None, interactions: int | None) -> ShopShape:
    by_users = (users or shape.users) / shape.users
    by_rows = interactions / shape.raw_rows if interactions else by_users
    scaled = replace(
        shape,
        users=users or shape.users,
        trainable_users=round(shape.trainable_users * by_users),
        items=items or shape.items,
        raw_rows=interactions or round(shape.raw_rows * by_users),
        unique_rows=round(shape.unique_rows * by_rows),
        dirty_rows=round(shape.dirty_rows * by_rows),
    )
    others = scaled.users - scaled.trainable_users
    many_rows = round((shape.unique_rows - shape.trainable_rows) * by_users)
    return _checked(replace(scaled, trainable_rows=scaled.unique_rows - max(many_rows, others)))


def _checked(shape: ShopShape) -> ShopShape:
    per_user = shape.trainable_rows / max(shape.trainable_users, 1)
    # A user may hold more rows than the original shape allows when the average asks for it.
    most = min(max(shape.max_rows, round(4 * per_user)), shape.items // 2)
    if not shape.min_rows <= per_user <= most / 2 or shape.items < 2 * shape.tastes:
        raise ConfigError(
            f"{shape.users} users ({shape.trainable_users} of them trainable), {shape.items} items and "
            f"{shape.raw_rows} rows make no shop: a trainable user would have {per_user:.1f} rows, possible are "
            f"{shape.min_rows} to {most / 2:g}, and at least {2 * shape.tastes} items are needed"
        )
    return replace(shape, max_rows=most)


def _unique_rows(shape: ShopShape, catalogue: Catalogue, seed: int) -> pl.DataFrame:
    """Return one row per (user, item), sorted by user: codes, stars, seconds and comment."""
    rng = generator(seed, "demo", "rows")
    trainable_counts, other_counts = draw_row_counts(shape, rng)
    user = np.repeat(np.arange(shape.users), np.concatenate([trainable_counts, other_counts]))
    item = draw_items(user, catalogue, shape, rng)
    seconds = draw_times(user, rng.random(len(user)) < _SAME_EVENT_SHARE, rng)
    stars = _stars(user, shape, other_counts, rng)
    return pl.DataFrame(
        {
            "user": user,
            "item": item,
            "rating": stars,
            "seconds": seconds,
            "comment": review_comments(stars, generator(seed, "demo", "comments")),
        }
    )


def _stars(
    user: IndexArray, shape: ShopShape, other_counts: IndexArray, rng: np.random.Generator
) -> NDArray[np.int64]:
    stars = rng.choice(5, size=len(user), p=_STAR_SHARES) + 1
    likes = np.bincount(user[stars >= 4], minlength=shape.users) > 0
    first = np.searchsorted(user, np.arange(shape.trainable_users))
    stars[first[~likes[: shape.trainable_users]]] = 5
    # Other users with two rows are not trainable because they liked neither.
    critics = shape.trainable_users + np.flatnonzero(other_counts > 1)
    stars[np.isin(user, critics)] = rng.integers(1, 4, size=int(np.isin(user, critics).sum()))
    return stars.astype(np.int64)


def _with_duplicates(rows: pl.DataFrame, shape: ShopShape, seed: int) -> pl.DataFrame:
    """Append second rows of pairs: exact copies, and older reviews that the newest one replaces."""
    rng = generator(seed, "demo", "duplicates")
    n = shape.raw_rows - shape.unique_rows - shape.dirty_rows
    copies = rows[rng.integers(rows.height, size=n)]
    older = rng.random(n) >= _EXACT_COPY_SHARE
    age = np.where(older, rng.integers(1, _OLDEST_REVIEW_SECONDS, size=n), 0)
    stars = np.where(older, rng.choice(5, size=n, p=_STAR_SHARES) + 1, copies["rating"].to_numpy())
    return pl.concat(
        [rows, copies.with_columns(pl.col("seconds") - age, pl.Series("rating", stars, dtype=pl.Int64))]
    )


def _with_dirt(rows: pl.DataFrame, shape: ShopShape, seed: int) -> pl.DataFrame:
    """Return the rows as a shop exports them: ids and dates as text, some rows unusable, in random order."""
    rng = generator(seed, "demo", "dirt")
    user_number = generator(seed, "demo", "user_ids").permutation(shape.users) + 1
    time = pl.from_epoch(pl.col("seconds") + _OPENED_AT, "s").dt.strftime("%Y-%m-%d %H:%M:%S")
    exported = rows.select(
        pl.Series("user_id", user_number[rows["user"].to_numpy()]).cast(pl.String).str.zfill(8),
        pl.Series("product_id", _item_numbers(shape, seed)[rows["item"].to_numpy()])
        .cast(pl.String)
        .str.zfill(9),
        pl.col("rating"),
        time.alias("cmt_date"),
        "comment",
    )
    dirty = exported[rng.integers(exported.height, size=shape.dirty_rows)]
    kind = pl.lit(pl.Series(np.array(_DIRT)[np.arange(shape.dirty_rows) % len(_DIRT)]))
    dirty = dirty.with_columns(
        *(pl.when(kind != name).then(name).alias(name) for name in ("user_id", "product_id")),
        pl.when(kind == "out_of_range").then(pl.lit(0)).when(kind != "rating").then("rating").alias("rating"),
        pl.when(kind == "cmt_date")
        .then(pl.lit("0000-00-00 00:00:00"))
        .otherwise("cmt_date")
        .alias("cmt_date"),
    ).cast(exported.schema)
    everything = pl.concat([exported, dirty])
    return everything[rng.permutation(everything.height)]


def _products(shape: ShopShape, catalogue: Catalogue, seed: int) -> pl.DataFrame:
    rng = generator(seed, "demo", "products")
    sold = np.rint(catalogue.weight * 20 * shape.raw_rows * rng.lognormal(0.0, 0.2, shape.items)).astype(
        np.int64
    )
    numbers = pl.Series("product_id", _item_numbers(shape, seed)).cast(pl.String).str.zfill(9)
    return (
        product_names(catalogue.taste, rng)
        .insert_column(0, numbers)
        .with_columns(pl.Series("num_sold_time", sold))
        .sort("product_id")
    )


def _item_numbers(shape: ShopShape, seed: int) -> IndexArray:
    return (generator(seed, "demo", "item_ids").permutation(shape.items) + 1) * 7_919
