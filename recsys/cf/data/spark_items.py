"""What can be recommended, by Spark: users and items filtered in turn until nothing changes."""

from typing import Any

import numpy as np
import polars as pl
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from recsys.cf.data.segment import no_items_message, no_users_message, sample_users
from recsys.cf.data.spark_rules import liked_items, most_of_a_user, passes
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError


def kept_items(session: Any, cleaned: DataFrame, config: DataConfig) -> DataFrame:
    """Return item_id of the largest set in which users and items satisfy each other's filters.

    Every round asks the cluster for the items that are left, whose ids the driver holds: about 100 bytes each.

    Args:
        cleaned: rows by ranges of user_id, with is_warm; read once a round.

    Raises:
        EmptyDataError: nobody or nothing satisfies the filters; says which and what was seen.
    """
    warm = cleaned.filter("is_warm")
    if warm.isEmpty():
        seen = most_of_a_user(cleaned)
        raise EmptyDataError(no_users_message(config, *seen))
    return _fixed_point(session, cleaned, warm, config)


def drawn_users(
    session: Any, cleaned: DataFrame, kept: DataFrame, config: DataConfig, seed: int
) -> tuple[DataFrame, DataFrame] | None:
    """Return (user_id of the ``max_users`` users drawn, item_id of what is kept for them); None: all stay.

    Raises EmptyDataError when the filters leave nothing of those users' items.
    """
    if config.max_users is None:
        return None
    users = _ids(_passing(cleaned, kept, config).select("user_id").distinct())
    if len(users) <= config.max_users:
        return None
    chosen = users.filter(pl.Series(sample_users(np.ones(len(users), dtype=bool), config.max_users, seed)))
    drawn = _table(session, chosen)
    try:
        items = _fixed_point(
            session, cleaned, cleaned.join(F.broadcast(drawn), "user_id", "left_semi"), config
        )
    except EmptyDataError as error:
        raise EmptyDataError(f"{error} (max_users {config.max_users})") from error
    return drawn, items


def _fixed_point(session: Any, cleaned: DataFrame, rows: DataFrame, config: DataConfig) -> DataFrame:
    left = _liked_enough(rows, config)
    while len(left):
        kept = _table(session, left)
        remaining = _liked_enough(_passing(rows, kept, config), config)
        if len(remaining) == len(left):  # it is a subset
            return kept
        left = remaining
    raise EmptyDataError(_message(cleaned, rows, config))


def _passing(rows: DataFrame, kept: DataFrame, config: DataConfig) -> DataFrame:
    """Return the rows on kept items whose users pass the filters with those items alone."""
    alive = rows.join(F.broadcast(kept), "item_id", "left_semi")
    return alive.withColumn("is_passing", passes(config, F.lit(True))).filter("is_passing")


def _liked_enough(rows: DataFrame, config: DataConfig) -> pl.Series:
    return _ids(liked_items(rows).filter(F.col("positives") >= config.min_item_positives).select("item_id"))


def _ids(column: DataFrame) -> pl.Series:
    """Return the ids of a table of one column, sorted."""
    return pl.Series(pl.from_arrow(column.toArrow())).sort()


def _table(session: Any, ids: pl.Series) -> DataFrame:
    return session.createDataFrame(ids.to_frame().to_arrow())


def _message(cleaned: DataFrame, rows: DataFrame, config: DataConfig) -> str:
    """Return why nothing is left, as ``no_items_message`` words it."""
    n_items = cleaned.select("item_id").distinct().count()
    n_users = rows.select("user_id").distinct().count()
    items = liked_items(rows)
    enough = F.count(F.when(F.col("positives") >= config.min_item_positives, 1))
    n_enough, most = items.agg(enough, F.max("positives")).first()
    return no_items_message(config, n_items, n_enough, n_users, most)
