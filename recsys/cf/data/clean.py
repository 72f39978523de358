"""Rows that cannot be used leave, texts become their quality, and of each (user, item) one row stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from recsys.cf.data.funnel import Funnel, sample_rows
from recsys.cf.data.quality import comment_quality
from recsys.cf.data.raw import RawBatch
from recsys.cf.data.tables import NOT_JSON, NOT_UTF8
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError
from recsys.types import Json

REQUIRED = ("user_id", "item_id", "rating", "timestamp")
READ_STEPS = (
    "read",
    "parse",
    "rating_range",
    "deduplicate",
)  # steps that no setting but the ratings' bounds moves
# One row per review, whatever the file: what the following steps need, in 40 bytes and two ids.
SCORED_COLUMNS = ("user_id", "item_id", "rating", "timestamp", "comment_quality")

# Returns the dropped rows, given by place in the batch, as the file has them.
Sampler = Callable[[Sequence[int]], list[Json]]


@dataclass
class RowFilter:
    """Drops rows without user, item, rating or time, and ratings out of range; counts what it drops."""

    config: DataConfig
    funnel: Funnel
    ratings_outside: list[float] = field(default_factory=list)  # the extremes of each batch's

    def score_batch(self, batch: RawBatch) -> pl.DataFrame:
        """Return the usable rows of a batch of a file with their quality; unreadable rows are counted."""
        self.funnel.rows_in += batch.rows.height
        rows = batch.rows.with_row_index("place")
        for reason in (NOT_UTF8, NOT_JSON):
            marked = [] if batch.fault is None else (batch.fault == reason).arg_true().to_list()
            self.funnel.drop("read", reason, len(marked), batch.samples(marked[:3]))
        if batch.fault is not None:
            rows = rows.filter(batch.fault.is_null())
        return self._score(self._usable(rows, batch.samples))

    def score(self, raw: pl.DataFrame) -> pl.DataFrame:
        """Return the usable rows of a table of parsed reviews with their quality; its rows are counted already."""
        rows = raw.with_row_index("place")
        return self._score(self._usable(rows, lambda places: sample_rows(raw[list(places)])))

    def check(self) -> None:
        """Raise EmptyDataError when some filter left nothing; says which and what it saw."""
        left = self.funnel.rows_in
        for step in self.funnel.steps:
            if step.rows == left > 0:
                raise EmptyDataError(self._emptied(step.reason, left))
            left -= step.rows

    def _usable(self, rows: pl.DataFrame, sampler: Sampler) -> pl.DataFrame:
        for column in REQUIRED:  # a row that lacks several counts under the first
            rows = self._keep("parse", f"no_{column}", rows, pl.col(column).is_not_null(), sampler)
        low, high = self.config.rating_min, self.config.rating_max
        in_range = pl.col("rating").is_between(low, high)
        outside = rows.filter(~in_range)["rating"].to_numpy()
        if outside.size:
            self.ratings_outside += [float(outside.min()), float(outside.max())]
        return self._keep("rating_range", "rating_out_of_range", rows, in_range, sampler)

    def _keep(
        self, step: str, reason: str, rows: pl.DataFrame, usable: pl.Expr, sampler: Sampler
    ) -> pl.DataFrame:
        kept = rows.filter(usable)
        n_dropped = rows.height - kept.height
        dropped = rows.filter(~usable)["place"].head(3).to_list() if n_dropped else []
        self.funnel.drop(step, reason, n_dropped, sampler(dropped) if dropped else ())
        return kept

    def _score(self, usable: pl.DataFrame) -> pl.DataFrame:
        scored = usable.with_columns(comment_quality(usable, self.config), pl.col("rating").cast(pl.Float32))
        return one_zero(scored.select(SCORED_COLUMNS))

    def _emptied(self, reason: str, n_rows: int) -> str:
        if reason == "rating_out_of_range":
            return (
                f"all {n_rows} ratings outside [{self.config.rating_min:g}, {self.config.rating_max:g}] "
                f"(seen {min(self.ratings_outside):g}..{max(self.ratings_outside):g}): "
                "set data.rating_min and data.rating_max, or rescale the column"
            )
        column = reason.removeprefix("no_")
        return (
            f"all {n_rows} rows left at this step have no usable {column} (blank or not readable): "
            f"is the right column mapped? Map it with --column {column}=NAME"
        )


def one_zero(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with 0.0 for -0.0: both compare as equal, so which of them stayed would be chance."""
    return scored.with_columns(
        pl.when(pl.col(name) == 0).then(pl.lit(0.0, pl.Float32)).otherwise(name).alias(name)
        for name in ("rating", "comment_quality")
    )


def clean_interactions(raw: pl.DataFrame, config: DataConfig, funnel: Funnel) -> pl.DataFrame:
    """Return one valid, scored row per (user_id, item_id), sorted by both; every dropped row is in ``funnel``.

    Args:
        raw: what ``read_interactions`` returns, counted in ``funnel.rows_in``.

    Returns:
        SCORED_COLUMNS: rating and comment_quality are Float32 now.

    Raises:
        EmptyDataError: a filter left no row; says which and what it saw.
    """
    rows = RowFilter(config, funnel)
    scored = rows.score(raw)
    rows.check()
    return newest_per_pair(scored, funnel)


def newest_per_pair(scored: pl.DataFrame, funnel: Funnel) -> pl.DataFrame:
    """Return one row per (user_id, item_id), sorted by both.

    Of several rows of a pair the newest stays, of equally new ones the highest rated, then the one whose text
    tells most; rows that are equal in all that are one, so that the order of the input never matters.
    """
    ordered = scored.sort(
        ["user_id", "item_id", "timestamp", "rating", "comment_quality"],
        descending=[False, False, True, True, True],
    )
    same = (pl.col("user_id") == pl.col("user_id").shift()) & (pl.col("item_id") == pl.col("item_id").shift())
    is_older = ordered.select(same.fill_null(False)).to_series()
    funnel.drop_rows("deduplicate", "older_row_of_same_user_and_item", ordered.filter(is_older))
    return ordered.filter(~is_older)
