"""Reviews written down in tests as tuples, and a small shop that is prepared once."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.cf.data.funnel import Funnel
from recsys.config.schema import DataConfig

OPENING = datetime(2024, 1, 1, tzinfo=UTC)
RAW_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Datetime("us", "UTC"),
    "comment": pl.String,
    "comment_quality": pl.Float64,
}
LENIENT = DataConfig(min_item_positives=1)


def raw_reviews(rows: Iterable[tuple[str | None, str | None, float | None, int | None]]) -> pl.DataFrame:
    """Return what ``read_interactions`` would, for rows (user_id, item_id, rating, day)."""
    return pl.DataFrame(
        [
            (user, item, rating, None if day is None else OPENING + timedelta(days=day), None, None)
            for user, item, rating, day in rows
        ],
        schema=RAW_SCHEMA,
        orient="row",
    )


def scored_reviews(rows: Iterable[tuple[str, str, float, int]]) -> pl.DataFrame:
    """Return rows as segmentation and split get them: cleaned, positives marked."""
    frame = raw_reviews(rows).sort("user_id", "item_id")
    return frame.with_columns((pl.col("rating") >= 4).alias("is_positive"))


def drops(funnel: Funnel) -> dict[str, int]:
    """Return the reasons of a funnel that dropped something."""
    return {step.reason: step.rows for step in funnel.steps if step.rows}
