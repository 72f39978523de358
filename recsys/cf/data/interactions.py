"""Raw reviews become split interactions: the steps between reading and building, for one table or many parts."""

from collections.abc import Callable, Iterable, Iterator

import polars as pl

from recsys.cf.data.build import INTERACTION_COLUMNS
from recsys.cf.data.clean import clean_interactions
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.segment import segment_parts
from recsys.cf.data.split import TEST, assign_splits
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError

# Called with the name of a finished step and the number of rows it left; "read" also while it goes on.
StepCallback = Callable[[str, int], None]


def report_to_nobody(_step: str, _rows: int) -> None:
    """Do nothing: the callback of those who do not listen."""


def prepare_interactions(
    raw: pl.DataFrame, config: DataConfig, seed: int, on_step: StepCallback | None = None
) -> tuple[pl.DataFrame, Funnel]:
    """Return (cleaned rows with INTERACTION_COLUMNS, funnel): preparation in memory, without files and stores.

    Args:
        raw: what ``read_interactions`` returns. Raises EmptyDataError.
    """
    funnel, report = Funnel(raw.height), on_step or report_to_nobody
    report("read", raw.height)
    cleaned = clean_interactions(raw, config, funnel)
    report("clean", cleaned.height)
    return pl.concat(split_interactions([cleaned], config, seed, funnel, report)), funnel


def split_interactions(
    cleaned: Iterable[pl.DataFrame],
    config: DataConfig,
    seed: int,
    funnel: Funnel,
    report: StepCallback = report_to_nobody,
) -> Iterator[pl.DataFrame]:
    """Yield the interactions (INTERACTION_COLUMNS) of each part of the cleaned rows.

    Args:
        cleaned: parts as ``newest_per_pair`` returns them, in the order of user_id, each user in one part;
            iterated three times.

    Raises:
        EmptyDataError: a step left nothing; says which filter emptied it.
    """
    parts = WithConfidence(cleaned, config)
    try:
        segmentation = segment_parts(parts, config, seed=seed)
    except EmptyDataError as error:
        raise EmptyDataError(f"{error}{funnel.explain()}") from error
    report("segment", segmentation.n_rows)
    holds_out = False
    for segmented in segmentation.apply(parts, funnel):
        part = assign_splits(segmented, config, funnel).select(INTERACTION_COLUMNS)
        holds_out = holds_out or bool((part["split"] == TEST).any())
        yield part
    if not holds_out:
        raise nothing_held_out(int(segmentation.users.sum()))
    report("split", funnel.rows_out)
    funnel.log("segment", "split")


def nothing_held_out(n_users: int) -> EmptyDataError:
    """Return the error of a split without test rows."""
    return EmptyDataError(
        f"the split holds out nothing: none of {n_users} trainable users has positives at two different times, "
        "so nothing could be measured; is the timestamp column the right one?"
    )


class WithConfidence:
    """The cleaned rows with what follows from rating and quality; iterable as often as they are."""

    def __init__(self, cleaned: Iterable[pl.DataFrame], config: DataConfig) -> None:
        self._cleaned = cleaned
        self._positive = pl.col("rating") >= config.positive_threshold

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for rows in self._cleaned:
            yield rows.with_columns(
                self._positive.alias("is_positive"),
                (~self._positive).alias("is_hard_negative"),
                (pl.col("rating") + pl.col("comment_quality")).alias("confidence"),
            )
