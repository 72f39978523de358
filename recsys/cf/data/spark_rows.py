"""Rows on their way to Spark and back: the same values in types that both sides hold exactly."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from recsys.cf.data.build import INTERACTION_COLUMNS
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.segment import Segmentation
from recsys.cf.data.split import AFTER_HELD_OUT, AT_HELD_OUT, DROPPED
from recsys.config.schema import DataConfig

# timestamp: microseconds since 1970. is_positive is decided here, so that nobody compares in other precision.
SCORED_SCHEMA = (
    "user_id string, item_id string, rating float, timestamp bigint, comment_quality float, is_positive boolean"
)  # fmt: skip


def write_scored(path: Path, scored: pl.DataFrame, config: DataConfig) -> None:
    """Write rows of SCORED_COLUMNS as a Parquet file of SCORED_SCHEMA."""
    scored.with_columns(
        pl.col("timestamp").to_physical(),
        (pl.col("rating") >= config.positive_threshold).alias("is_positive"),
    ).write_parquet(path, compression="zstd", compression_level=1)


def rows_of_spark(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows that Spark gave back with their time as such."""
    return frame.with_columns(pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))


class SplitRows:
    """The cleaned rows as Spark leaves them: one Parquet file for each range of users, in their order.

    Columns: those of SCORED_SCHEMA; is_warm, is_sampled_out, is_trainable (of the user), is_kept (of the item); split;
    and reason, why a row with both indices is in no split.
    """

    def __init__(self, directory: Path) -> None:
        # part-00000-..., the number being that of the range; ranges without rows have no file
        files = directory.glob("part-*.parquet")
        self._paths = sorted(files, key=lambda path: int(path.name.split("-")[1]))

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for path in self._paths:
            yield rows_of_spark(pl.read_parquet(path, hive_partitioning=False, glob=False))

    def segmentation(self) -> Segmentation:
        """Return who is trainable and what is kept, as ``segment_parts`` does; reads flags and ids only."""
        flags = ("is_warm", "is_sampled_out", "is_trainable")
        users, items, n_rows = [], [], 0
        for path in self._paths:
            part = pl.read_parquet(path, columns=["user_id", "item_id", "is_kept", *flags])
            of_user = part.group_by("user_id", maintain_order=True).agg(pl.col(flags).first())
            users.append(of_user.drop("user_id"))
            items.append(part.select("item_id", "is_kept").unique())
            n_rows += part.filter(pl.col("is_trainable") & pl.col("is_kept")).height
        user, item = pl.concat(users), pl.concat(items).unique().sort("item_id")
        return Segmentation(
            cold=~user["is_warm"].to_numpy(),
            sampled_out=user["is_sampled_out"].to_numpy(),
            users=user["is_trainable"].to_numpy(),
            items=item["is_kept"].to_numpy(),
            item_ids=item["item_id"],
            n_rows=n_rows,
        )


def counted_splits(parts: Iterable[pl.DataFrame], funnel: Funnel) -> Iterator[pl.DataFrame]:
    """Yield the parts with INTERACTION_COLUMNS; what the split dropped is counted."""
    for part in parts:
        dropped = part.filter(pl.col("split") == DROPPED)
        for reason in (AT_HELD_OUT, AFTER_HELD_OUT):
            funnel.drop_rows("split", reason, dropped.filter(pl.col("reason") == reason))
        yield part.select(INTERACTION_COLUMNS)
