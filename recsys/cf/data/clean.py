"""Rows that cannot be used leave, and of each (user, item) one row stays."""

import polars as pl

from recsys.cf.data.funnel import Funnel
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError

REQUIRED = ("user_id", "item_id", "rating", "timestamp")


def clean_interactions(raw: pl.DataFrame, config: DataConfig, funnel: Funnel) -> pl.DataFrame:
    """Return one valid row per (user_id, item_id), sorted by both; every dropped row is in ``funnel``.

    Of several rows of a pair the newest stays, of equally new ones the highest rated; ties beyond that are
    broken by the row's other values, so that the order of the input never matters.

    Args:
        raw: what ``read_interactions`` returns.

    Raises:
        EmptyDataError: a filter left no row; says which and what it saw.
    """
    complete = _drop_incomplete(raw, funnel)
    in_range = _drop_out_of_range(complete, config, funnel)
    unique = in_range.sort(
        ["user_id", "item_id", "timestamp", "rating", "comment_quality", "comment"],
        descending=[False, False, True, True, True, True],
        nulls_last=True,
    ).unique(["user_id", "item_id"], keep="first", maintain_order=True)
    funnel.drop("deduplicate", "older_row_of_same_user_and_item", in_range.height - unique.height)
    return unique


def _drop_incomplete(rows: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    """Drop rows without user, item, rating or time; a row that lacks several counts under the first."""
    for column in REQUIRED:
        kept = rows.filter(pl.col(column).is_not_null())
        funnel.drop("parse", f"no_{column}", rows.height - kept.height)
        if kept.is_empty():
            raise EmptyDataError(
                f"all {rows.height} rows left at this step have no usable {column} (blank or not readable): "
                f"is the right column mapped? Map it with --column {column}=NAME"
            )
        rows = kept
    return rows


def _drop_out_of_range(rows: pl.DataFrame, config: DataConfig, funnel: Funnel) -> pl.DataFrame:
    low, high = config.rating_min, config.rating_max
    kept = rows.filter(pl.col("rating").is_between(low, high))
    funnel.drop("rating_range", "rating_out_of_range", rows.height - kept.height)
    if kept.is_empty():
        seen = rows["rating"].to_numpy()
        raise EmptyDataError(
            f"all {rows.height} ratings outside [{low:g}, {high:g}] (seen {seen.min():g}..{seen.max():g}): "
            "set data.rating_min and data.rating_max, or rescale the column"
        )
    return kept
