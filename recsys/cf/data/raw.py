"""Raw files become tables: columns found and named, ids kept as the exact strings they are, nothing dropped."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from recsys.cf.data.columns import INTERACTION_RULES, ITEM_RULES, ColumnRule, resolve_columns
from recsys.cf.data.timestamps import parse_timestamps
from recsys.config.schema import InteractionColumns, ItemColumns
from recsys.errors import EmptyDataError, RawDataError

logger = logging.getLogger(__name__)

_LIBRARY_ERRORS = (pl.exceptions.PolarsError, OSError, UnicodeError, ValueError)


def read_interactions(path: Path, columns: InteractionColumns) -> pl.DataFrame:
    """Return every row of a review file, parsed but not filtered.

    Returns:
        user_id, item_id (String, null when blank), rating (Float64, null when not a finite number), timestamp
        (Datetime[us, UTC], null when unreadable), comment (String, null when blank), comment_quality (Float64,
        null when absent). Rows keep the file's order.

    Raises:
        RawDataError: the file is missing, damaged, of an unknown kind, lacks a column, or its comment_quality
            leaves [0, 1]. EmptyDataError: it has no rows.
    """
    table = _read_columns(path, INTERACTION_RULES, columns)
    if table.is_empty():
        raise EmptyDataError(f"{path} has a header but no rows: nothing to prepare")
    nothing = pl.lit(None, dtype=pl.String)
    parsed = table.select(
        _id(table, "user_id"),
        _id(table, "item_id"),
        _number("rating"),
        parse_timestamps(table["timestamp"]).alias("timestamp"),
        (_text("comment") if "comment" in table.columns else nothing).alias("comment"),
        (
            _number("comment_quality") if "comment_quality" in table.columns else nothing.cast(pl.Float64)
        ).alias("comment_quality"),
    )
    _check_quality_column(path, parsed["comment_quality"])
    logger.info("read %s rows=%d columns=%s", path.name, parsed.height, ",".join(table.columns))
    return parsed


def read_items(path: Path, columns: ItemColumns) -> pl.DataFrame:
    """Return one row per item of a product file: item_id, title (String), num_sold_time (Float64), by item_id.

    Rows without an id are left out; of several rows with one id the first counts. Title and num_sold_time are
    null where the shop gave none. Raises RawDataError as ``read_interactions`` does.
    """
    table = _read_columns(path, ITEM_RULES, columns)
    nothing = pl.lit(None, dtype=pl.String)
    items = (
        table.select(
            _id(table, "item_id"),
            (_text("title") if "title" in table.columns else nothing).alias("title"),
            (
                _number("num_sold_time") if "num_sold_time" in table.columns else nothing.cast(pl.Float64)
            ).alias("num_sold_time"),
        )
        .filter(pl.col("item_id").is_not_null())
        .unique("item_id", keep="first", maintain_order=True)
        .sort("item_id")
    )
    logger.info("read %s rows=%d items=%d", path.name, table.height, items.height)
    return items


def _read_columns(
    path: Path, rules: Sequence[ColumnRule], configured: InteractionColumns | ItemColumns
) -> pl.DataFrame:
    """Return the columns of ``path`` that ``rules`` know, under our names."""
    if not path.is_file():
        raise RawDataError(f"{path} is not a file: give the path of a CSV (.csv, .csv.gz) or Parquet file")
    read_header, read_table = _reader(path)
    try:
        found = read_header(path)
    except _LIBRARY_ERRORS as error:
        raise RawDataError(_unreadable(path, error)) from error
    resolved = resolve_columns(path, found, rules, configured)
    try:
        table = read_table(path, sorted(set(resolved.values())))
    except _LIBRARY_ERRORS as error:
        raise RawDataError(_unreadable(path, error)) from error
    return table.select(pl.col(column).alias(name) for name, column in resolved.items())


def _reader(
    path: Path,
) -> tuple[Callable[[Path], list[str]], Callable[[Path, list[str]], pl.DataFrame]]:
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        return _csv_header, _read_csv
    if name.endswith((".parquet", ".pq")):
        return _parquet_header, _read_parquet
    raise RawDataError(f"{path}: unknown kind of file; known are .csv, .csv.gz and .parquet")


def _csv_header(path: Path) -> list[str]:
    return pl.read_csv(path, infer_schema=False, n_rows=0).columns


def _read_csv(path: Path, columns: list[str]) -> pl.DataFrame:
    # Everything is read as text, so that an id such as 00123 keeps its zeros.
    return pl.read_csv(path, infer_schema=False, columns=columns)


def _parquet_header(path: Path) -> list[str]:
    return list(pl.read_parquet_schema(path))


def _read_parquet(path: Path, columns: list[str]) -> pl.DataFrame:
    return pl.read_parquet(path, columns=columns, hive_partitioning=False, glob=False)


def _id(table: pl.DataFrame, name: str) -> pl.Expr:
    column = pl.col(name)
    if table.schema[name].is_float():
        # An integer column with gaps is stored as floats by pandas: 123.0 is the id 123.
        values = table[name].drop_nans().drop_nulls()
        if (values.floor() != values).any():
            raise RawDataError(f"column {name} holds fractions such as {values[0]}: store ids as strings")
        column = column.cast(pl.Int64, strict=False)
    text = column.cast(pl.String)
    return pl.when(text.str.contains(r"\S")).then(text).alias(name)


def _text(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    return pl.when(text.str.contains(r"\S")).then(text).alias(name)


def _number(name: str) -> pl.Expr:
    column = pl.col(name).cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    return pl.when(column.is_finite()).then(column).alias(name)


def _check_quality_column(path: Path, quality: pl.Series) -> None:
    seen = quality.drop_nulls().to_numpy()
    if n_outside := int(((seen < 0) | (seen > 1)).sum()):
        raise RawDataError(
            f"{path}: comment_quality must lie in [0, 1], but {n_outside} values do not "
            f"(seen {seen.min():g}..{seen.max():g}); rescale or rename the column"
        )


def _unreadable(path: Path, error: Exception) -> str:
    first_line = next(iter(str(error).splitlines()), type(error).__name__)
    return (
        f"{path} cannot be read ({first_line}); check that it is whole, UTF-8, and comma-separated if a CSV"
    )
