"""Each user's history is cut by time into train, validation and test, without cutting an event.

Rows of one user with the same timestamp are one event: shops show one review under every variant of a product,
and ties in time have no order. A split that cuts events lets the test leak into train.
"""

import polars as pl

from recsys.cf.data.funnel import Funnel
from recsys.config.schema import DataConfig

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# Kept in interactions.parquet, in no split: the user has no row in the matrices; the row itself was dropped.
COLD, DROPPED = "cold", "dropped"
# Why a row with both indices is in no split.
AT_HELD_OUT, AFTER_HELD_OUT = "negative_of_held_out_event", "later_than_held_out"


def assign_splits(segmented: pl.DataFrame, config: DataConfig, funnel: Funnel) -> pl.DataFrame:
    """Return ``segmented`` with a String column split: train, validation, test, cold or dropped.

    Only rows with both indices are split; rows of users who are not trainable are cold, rows of trainable users
    on items that were filtered out are dropped (both are in the funnel already).

    Per user, with ``split_unit`` "event": test = the positives of the latest event with a positive, if at least
    two events have one; validation = those of the second latest, if at least three have one. Train = rows
    before the earliest held-out event; other rows from there on are dropped and counted. No positive is ever
    dropped, and every user keeps a positive in train. With "row": the same for single rows, ordered by time,
    then rating, both descending, then item_id; rows as old as a held-out row stay in train.
    """
    inside = pl.col("user_idx").is_not_null() & pl.col("item_idx").is_not_null()
    rows = segmented.with_row_index("row").filter(inside)
    ranked = _rank_events(rows) if config.split_unit == "event" else _rank_rows(rows)
    split, reason = _rules(cuts_events=config.split_unit == "row")
    ranked = ranked.with_columns(_held_out_times()).with_columns(split.alias("split"))
    dropped = ranked.filter(pl.col("split") == DROPPED)
    for name in (AT_HELD_OUT, AFTER_HELD_OUT):
        funnel.drop_rows("split", name, dropped.filter(reason == name))
    outside = pl.when("is_trainable_user").then(pl.lit(DROPPED)).otherwise(pl.lit(COLD))
    return (
        segmented.with_row_index("row")
        .join(ranked.select("row", "split"), on="row", how="left", maintain_order="left")
        .with_columns(pl.col("split").fill_null(outside))
        .drop("row")
    )


def multi_row_event_rows(segmented: pl.DataFrame) -> tuple[int, int]:
    """Return (rows in events of two or more rows, all rows) of the rows with both indices and a time."""
    rows = segmented.filter(
        pl.col("user_idx").is_not_null()
        & pl.col("item_idx").is_not_null()
        & pl.col("timestamp").is_not_null()
    )
    sizes = rows.group_by("user_idx", "timestamp").len()
    return int(sizes.filter(pl.col("len") > 1)["len"].sum()), rows.height


def multi_row_event_share(segmented: pl.DataFrame) -> float:
    """Return the share (0-1) of the rows with both indices that lie in events of two or more rows."""
    within, rows = multi_row_event_rows(segmented)
    return within / rows


def _rank_events(rows: pl.DataFrame) -> pl.DataFrame:
    """Add rank (1 = latest positive event; null for other rows) and n_units (positive events of the user)."""
    events = (
        rows.filter("is_positive")
        .select("user_idx", "timestamp")
        .unique()
        .with_columns(
            pl.col("timestamp").rank("ordinal", descending=True).over("user_idx").alias("rank"),
            pl.len().over("user_idx").alias("n_units"),
        )
    )
    return rows.join(events, on=["user_idx", "timestamp"], how="left").with_columns(
        pl.when("is_positive").then("rank").alias("rank"), pl.col("n_units").max().over("user_idx")
    )


def _rank_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Add rank (1 = latest positive row; null for negatives) and n_units (positives of the user)."""
    positives = (
        rows.filter("is_positive")
        .sort(["user_idx", "timestamp", "rating", "item_id"], descending=[False, True, True, False])
        .select(
            "row",
            pl.int_range(1, pl.len() + 1).over("user_idx").alias("rank"),
            pl.len().over("user_idx").alias("n_units"),
        )
    )
    return rows.join(positives, on="row", how="left").with_columns(pl.col("n_units").max().over("user_idx"))


def _held_out_times() -> list[pl.Expr]:
    rank, time = pl.col("rank"), pl.col("timestamp")
    tested, validated = pl.col("n_units") >= 2, pl.col("n_units") >= 3
    return [
        pl.when(tested).then(time.filter(rank == 1).first().over("user_idx")).alias("test_time"),
        pl.when(validated).then(time.filter(rank == 2).first().over("user_idx")).alias("validation_time"),
    ]


def _rules(*, cuts_events: bool) -> tuple[pl.Expr, pl.Expr]:
    """Return (split of a row, why a row is dropped)."""
    rank, time, units = pl.col("rank"), pl.col("timestamp"), pl.col("n_units")
    cutoff = pl.coalesce("validation_time", "test_time")
    before = (time <= cutoff) if cuts_events else (time < cutoff)
    split = (
        pl.when(units < 2).then(pl.lit(TRAIN))
        .when(rank == 1).then(pl.lit(TEST))
        .when((rank == 2) & (units >= 3)).then(pl.lit(VALIDATION))
        .when(before).then(pl.lit(TRAIN))
        .otherwise(pl.lit(DROPPED))
    )  # fmt: skip
    at_held_out = (time == pl.col("test_time")) | (time == pl.col("validation_time"))
    reason = pl.when(at_held_out.fill_null(False)).then(pl.lit(AT_HELD_OUT)).otherwise(pl.lit(AFTER_HELD_OUT))
    return split, reason
