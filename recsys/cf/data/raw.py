"""Raw files become tables under our names: ids kept as the exact strings they are, nothing dropped."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.cf.data.columns import INTERACTION_RULES, ITEM_RULES, resolve_columns
from recsys.cf.data.funnel import SAMPLE_CHARACTERS
from recsys.cf.data.sources import Source
from recsys.cf.data.tables import BATCH_ROWS, TableBatch, column_names, table_batches
from recsys.cf.data.timestamps import parse_timestamps
from recsys.config.schema import InteractionColumns, ItemColumns
from recsys.errors import EmptyDataError, RawDataError
from recsys.types import Json

logger = logging.getLogger(__name__)

INTERACTION_SCHEMA = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Datetime("us", "UTC"),
    "comment": pl.String,
    "comment_quality": pl.Float64,
}


@dataclass(frozen=True)
class RawBatch:
    """Consecutive reviews of one file, parsed, beside the values they were parsed from."""

    rows: pl.DataFrame  # INTERACTION_SCHEMA
    fault: pl.Series | None  # per row why it cannot be read, null where it can; None: all can
    written: pl.DataFrame  # the same rows as the file has them, under our names
    file_name: str
    first_row: int

    def samples(self, places: Sequence[int]) -> list[Json]:
        """Return rows as the file has them, with the file's name and their number in it, for the funnel."""
        shown = [
            name for name in ("user_id", "item_id", "rating", "timestamp") if name in self.written.columns
        ]
        return [
            {name: str(value)[:SAMPLE_CHARACTERS] for name, value in row.items() if value is not None}
            | {"file": self.file_name, "row": self.first_row + place}
            for place in places
            for row in self.written.slice(place, 1).select(shown).iter_rows(named=True)
        ]


def read_interactions(path: Path, columns: InteractionColumns) -> pl.DataFrame:
    """Return every readable row of a review file, parsed but not filtered, in memory.

    Returns:
        user_id, item_id (String, null when blank), rating (Float64, null when not a finite number), timestamp
        (Datetime[us, UTC], null when unreadable), comment (String, null when blank), comment_quality (Float64,
        null when absent). Rows keep the file's order.

    Raises:
        RawDataError: the file is missing, damaged, of an unknown kind, lacks a column, or its comment_quality
            leaves [0, 1]. EmptyDataError: it has no rows.
    """
    if not path.is_file():
        raise RawDataError(f"{path} is not a file: give the path of a CSV, JSON Lines or Parquet file")
    frames = [
        batch.rows if batch.fault is None else batch.rows.filter(batch.fault.is_null())
        for batch in interaction_batches([Source(str(path), path)], columns)
    ]
    return pl.concat(frames)


def interaction_batches(
    sources: Sequence[Source], columns: InteractionColumns, batch_rows: int = BATCH_ROWS
) -> Iterator[RawBatch]:
    """Yield the reviews of all files, batch by batch; raises as ``read_interactions`` does."""
    n_rows = 0
    for source in sources:
        resolved = resolve_columns(source.name, column_names(source), INTERACTION_RULES, columns)
        used = sorted(set(resolved.values()))
        file_rows = 0
        for batch in table_batches(source, used, batch_rows):
            if batch.table.is_empty():
                continue
            parsed = parsed_batch(source.name, resolved, batch)
            yield parsed
            file_rows += parsed.rows.height
        logger.info("read %s rows=%d columns=%s", source.name, file_rows, ",".join(resolved))
        n_rows += file_rows
    if n_rows == 0:
        names = ", ".join(source.name for source in sources)
        raise EmptyDataError(f"{names}: a header but no rows: nothing to prepare")


def parsed_batch(file_name: str, resolved: Mapping[str, str], batch: TableBatch) -> RawBatch:
    """Return the rows of a batch under our names, parsed; raises as ``read_interactions`` does.

    Args:
        resolved: {our name: the file's column}, as ``resolve_columns`` returns it.
    """
    written = batch.table.select(pl.col(column).alias(name) for name, column in resolved.items())
    return RawBatch(_parse(file_name, written), batch.fault, written, Path(file_name).name, batch.first_row)


def read_items(path: Path, columns: ItemColumns) -> pl.DataFrame:
    """Return one row per item of a product file: item_id, title (String), num_sold_time (Float64), by item_id.

    Rows without an id are left out; of several rows with one id the first counts. Title and num_sold_time are
    null where the shop gave none. Raises RawDataError as ``read_interactions`` does.
    """
    if not path.is_file():
        raise RawDataError(f"{path} is not a file: give the path of a CSV, JSON Lines or Parquet file")
    return read_item_files([Source(str(path), path)], columns)


def read_item_files(sources: Sequence[Source], columns: ItemColumns) -> pl.DataFrame:
    """Return the items of several product files as ``read_items`` does; earlier files count first."""
    frames = [pl.DataFrame(schema={"item_id": pl.String, "title": pl.String, "num_sold_time": pl.Float64})]
    for source in sources:
        resolved = resolve_columns(source.name, column_names(source), ITEM_RULES, columns)
        for batch in table_batches(source, sorted(set(resolved.values()))):
            table = batch.table.select(pl.col(column).alias(name) for name, column in resolved.items())
            frames.append(
                table.select(
                    _id(source.name, table, "item_id"), _text(table, "title"), _number(table, "num_sold_time")
                )
            )
    items = (
        pl.concat(frames)
        .filter(pl.col("item_id").is_not_null())
        .unique("item_id", keep="first", maintain_order=True)
        .sort("item_id")
    )
    logger.info("read %d product files items=%d", len(sources), items.height)
    return items


def read_item_texts(
    sources: Sequence[Source], columns: ItemColumns, fields: Sequence[str] = ("title",)
) -> pl.DataFrame:
    """Return item_id and text (strings) of every product that has one of these fields, sorted by item_id.

    A text is the product's fields, those that are there, one after the other with ". " between. Of several rows
    with one id the first that has a text counts. Raises RawDataError as ``read_interactions`` does.
    """
    frames = [pl.DataFrame(schema={"item_id": pl.String, "text": pl.String})]
    for source in sources:
        resolved = resolve_columns(source.name, column_names(source), ITEM_RULES, columns)
        for batch in table_batches(source, sorted(set(resolved.values()))):
            table = batch.table.select(pl.col(column).alias(name) for name, column in resolved.items())
            texts = table.select(_id(source.name, table, "item_id"), *(_text(table, name) for name in fields))
            joined = pl.concat_str(pl.col(fields).str.strip_chars(), separator=". ", ignore_nulls=True)
            frames.append(texts.select("item_id", joined.alias("text")))
    return (
        pl.concat(frames)
        .filter(pl.col("item_id").is_not_null() & (pl.col("text").fill_null("") != ""))
        .unique("item_id", keep="first", maintain_order=True)
        .sort("item_id")
    )


def _parse(name: str, written: pl.DataFrame) -> pl.DataFrame:
    parsed = written.select(
        _id(name, written, "user_id"),
        _id(name, written, "item_id"),
        _number(written, "rating"),
        parse_timestamps(written["timestamp"]).alias("timestamp"),
        _text(written, "comment"),
        _number(written, "comment_quality"),
    )
    _check_quality_column(name, parsed["comment_quality"])
    return parsed


def _id(file_name: str, table: pl.DataFrame, name: str) -> pl.Expr:
    column = pl.col(name)
    if table.schema[name].is_float():
        # An integer column with gaps is stored as floats by pandas: 123.0 is the id 123.
        values = table[name].drop_nans().drop_nulls()
        fractions = values.filter(values.floor() != values)
        if fractions.len():
            raise RawDataError(
                f"{file_name}: column {name} holds fractions such as {fractions[0]}: store ids as strings"
            )
        column = column.cast(pl.Int64, strict=False)
    text = column.cast(pl.String)
    return pl.when(text.str.contains(r"\S")).then(text).alias(name)


def _text(table: pl.DataFrame, name: str) -> pl.Expr:
    if name not in table.columns:
        return pl.lit(None, dtype=pl.String).alias(name)
    text = pl.col(name).cast(pl.String)
    return pl.when(text.str.contains(r"\S")).then(text).alias(name)


def _number(table: pl.DataFrame, name: str) -> pl.Expr:
    if name not in table.columns:
        return pl.lit(None, dtype=pl.Float64).alias(name)
    column = pl.col(name)
    if not table.schema[name].is_numeric():
        column = column.cast(pl.String).str.strip_chars()
    column = column.cast(pl.Float64, strict=False)
    return pl.when(column.is_finite()).then(column).alias(name)


def _check_quality_column(name: str, quality: pl.Series) -> None:
    seen = quality.drop_nulls().to_numpy()
    if n_outside := int(((seen < 0) | (seen > 1)).sum()):
        raise RawDataError(
            f"{name}: comment_quality must lie in [0, 1], but {n_outside} values do not "
            f"(seen {seen.min():g}..{seen.max():g}); rescale or rename the column"
        )
