"""The rules of preparation in Spark SQL: newest row of a pair, filters to their fixed point, split by time.

They say what ``clean.newest_per_pair``, ``segment.segment_parts`` and ``split.assign_splits`` say, and tests hold the
results of both against each other byte by byte. Rows are cut by ranges of user_id once: from there on every
rule about a user is a window within one partition, and only counts of items travel.
"""

from typing import Any

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F  # noqa: N812 (the name everybody uses)

from recsys.cf.data.split import AFTER_HELD_OUT, AT_HELD_OUT, COLD, DROPPED, TEST, TRAIN, VALIDATION
from recsys.config.schema import DataConfig


def ranked_rows(scored: DataFrame, n_parts: int, config: DataConfig) -> DataFrame:
    """Return SCORED_SCHEMA with nth (1: the row of its pair that stays) and is_warm, by ranges of user_id.

    is_warm: the user passes the filters with all items.
    """
    pair = Window.partitionBy("user_id", "item_id").orderBy(
        F.desc("timestamp"), F.desc("rating"), F.desc("comment_quality")
    )
    ranked = scored.repartitionByRange(n_parts, "user_id").withColumn("nth", F.row_number().over(pair))
    return ranked.withColumn("is_warm", passes(config, F.col("nth") == 1))


def passes(config: DataConfig, counts: Column) -> Column:
    """Return whether the row's user has enough rows, and positives, among those that count."""
    enough = _number(counts).over(_user()) >= config.min_user_interactions
    liked = _number(counts & F.col("is_positive")).over(_user()) >= config.min_user_positives
    return enough & liked


def liked_items(rows: DataFrame) -> DataFrame:
    """Return item_id and positives (a count) of the rows' items."""
    return rows.groupBy("item_id").agg(_number(F.col("is_positive")).alias("positives"))


def segmented(
    cleaned: DataFrame,
    kept: DataFrame,
    first_kept: DataFrame | None,
    drawn: DataFrame | None,
    config: DataConfig,
) -> DataFrame:
    """Return the rows with is_kept, is_trainable and is_sampled_out.

    Args:
        kept: item_id of what can be recommended.
        first_kept: the same before users were drawn, and drawn: user_id of those; None: nobody was drawn.
    """
    rows = _marked(cleaned, kept, "item_id", "is_kept")
    sampled_out = F.lit(False)
    if first_kept is not None and drawn is not None:
        rows = _marked(rows, first_kept, "item_id", "was_kept")
        rows = _marked(rows, drawn, "user_id", "is_drawn")
        sampled_out = passes(config, F.col("was_kept")) & ~F.col("is_drawn")
    rows = rows.withColumn("is_sampled_out", sampled_out)
    return rows.withColumn("is_trainable", passes(config, F.col("is_kept")) & ~F.col("is_sampled_out"))


def split_rows(rows: DataFrame, config: DataConfig) -> DataFrame:
    """Return ``segmented`` rows with split and reason, sorted by user_id and item_id within each partition."""
    inside = F.col("is_trainable") & F.col("is_kept")
    ranked = rows.withColumn("is_inside", inside)
    ranked = ranked.withColumn("is_liked", F.col("is_inside") & F.col("is_positive"))
    ranked = ranked.withColumn("rank", F.when(F.col("is_liked"), _rank(config)))
    of_user = {"n_units": F.max("rank").over(_user())}
    for name, rank in (("test_time", 1), ("validation_time", 2)):
        of_user[name] = F.max(F.when(F.col("rank") == rank, F.col("timestamp"))).over(_user())
    ranked = ranked.withColumns(of_user)
    for name, rank in (("test_time", 1), ("validation_time", 2)):
        ranked = ranked.withColumn(name, F.when(F.col("n_units") > rank, F.col(name)))
    ranked = ranked.withColumn("split", _split(config)).withColumn("reason", _reason())
    helpers = (
        "is_inside",
        "is_liked",
        "rank",
        "n_units",
        "test_time",
        "validation_time",
        "nth",
        "was_kept",
        "is_drawn",
    )
    return ranked.drop(*helpers).sortWithinPartitions("user_id", "item_id")


def _rank(config: DataConfig) -> Column:
    """Return the place of a positive among its user's, the latest first: of its event, or of the row."""
    liked = Window.partitionBy("user_id", "is_liked")
    if config.split_unit == "event":
        return F.dense_rank().over(liked.orderBy(F.desc("timestamp")))
    return F.row_number().over(liked.orderBy(F.desc("timestamp"), F.desc("rating"), F.asc("item_id")))


def _split(config: DataConfig) -> Column:
    rank, units, time = F.col("rank"), F.col("n_units"), F.col("timestamp")
    cutoff = F.coalesce("validation_time", "test_time")
    before = (time <= cutoff) if config.split_unit == "row" else (time < cutoff)
    return (
        F.when(~F.col("is_trainable"), COLD)
        .when(~F.col("is_kept"), DROPPED)
        .when(units < 2, TRAIN)
        .when(rank == 1, TEST)
        .when((rank == 2) & (units >= 3), VALIDATION)
        .when(before, TRAIN)
        .otherwise(DROPPED)
    )


def _reason() -> Column:
    time = F.col("timestamp")
    at_held_out = (time == F.col("test_time")) | (time == F.col("validation_time"))
    reason = F.when(at_held_out, AT_HELD_OUT).otherwise(AFTER_HELD_OUT)
    return F.when(F.col("is_inside") & (F.col("split") == DROPPED), reason)


def _marked(rows: DataFrame, chosen: DataFrame, key: str, name: str) -> DataFrame:
    """Return the rows with whether their key is among the chosen; every executor gets those, no row moves."""
    marks = F.broadcast(chosen.withColumn(name, F.lit(True)))
    return rows.join(marks, key, "left").withColumn(name, F.coalesce(name, F.lit(False)))


def _number(condition: Column) -> Column:
    return F.sum(condition.cast("int"))


def _user() -> WindowSpec:
    return Window.partitionBy("user_id")


def most_of_a_user(cleaned: DataFrame) -> Any:
    """Return (users, most rows, most positives of one user), for the message of an empty result."""
    of_user = cleaned.groupBy("user_id").agg(
        F.count("*").alias("rows"), _number(F.col("is_positive")).alias("positives")
    )
    return of_user.agg(F.count("*"), F.max("rows"), F.max("positives")).first()
