"""Files of any known kind as tables, batch by batch, values as the file has them; rows that cannot be read are marked.

CSV (.csv), Parquet (.parquet, .pq) and JSON Lines (.jsonl, .ndjson, .json); text also compressed (.gz).
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.cf.data.pieces import ByteRange, RowRange, Unreadable
from recsys.cf.data.sources import Source
from recsys.cf.data.text_files import is_utf8, refuse_utf16, repair_json_lines
from recsys.errors import RawDataError
from recsys.storage.scratch import scratch_folder

BATCH_ROWS = 500_000
# A file with more unreadable rows than this share is in another encoding or format: nothing of it is used.
UNREADABLE_SHARE = 0.05
NOT_UTF8, NOT_JSON = "not_utf8", "not_json"

_REPLACEMENT = "\ufffd"
_INFERRED_LINES = 10_000
_LIBRARY_ERRORS = (
    pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, UnicodeError, ValueError, zlib.error,
)  # fmt: skip
_EXAMPLES = 3


@dataclass(frozen=True)
class TableBatch:
    """Consecutive rows of a file under the file's column names."""

    table: pl.DataFrame
    first_row: int  # number of the first row, counted from 1 and without a header
    fault: (
        pl.Series | None
    )  # per row why it cannot be read (NOT_UTF8, NOT_JSON), null where it can; None: all can


def column_names(source: Source) -> list[str]:
    """Return the names of the file's columns. Raises RawDataError: missing, damaged, or of an unknown kind."""
    kind = _kind(source)
    with _damage(source):
        return kind.names(source.path)


def table_batches(
    source: Source, columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[TableBatch]:
    """Yield the given columns of the file, in its order.

    A row is marked when one of these columns holds bytes that are no UTF-8 (they are shown as U+FFFD), or
    when its line is no JSON object. Memory: a few batches.

    Raises:
        RawDataError: the file is damaged, or more than ``UNREADABLE_SHARE`` of its rows cannot be read; names
            the first of them.
    """
    seen = Unreadable()
    for batch in piece_batches(source, columns, None, batch_rows):
        count_unreadable(batch, seen)
        yield batch
    refuse_unreadable(source.name, seen)


def piece_batches(
    source: Source, columns: Sequence[str], cut: RowRange | ByteRange | None, batch_rows: int = BATCH_ROWS
) -> Iterator[TableBatch]:
    """Yield the given columns of a piece of the file as ``table_batches`` does, however many cannot be read.

    Rows are numbered from the piece's first; None is the whole file.
    """
    if isinstance(cut, RowRange):
        batches = _parquet_batches(source.path, list(columns), batch_rows, cut)
    elif isinstance(cut, ByteRange):
        batches = _csv_lines(source.path, list(columns), batch_rows, cut)
    else:
        batches = _kind(source).batches(source.path, list(columns), batch_rows)
    while True:
        with _damage(source):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def count_unreadable(batch: TableBatch, seen: Unreadable) -> None:
    """Add the rows of a batch, in the order of the file."""
    seen.n_rows += batch.table.height
    if batch.fault is None:
        return
    marked = batch.fault.is_not_null().arg_true()
    seen.n_unreadable += marked.len()
    for place in marked.head(_EXAMPLES - len(seen.examples)):
        values = ", ".join(str(value)[:40] for value in batch.table.row(place) if value is not None)
        seen.examples.append((batch.first_row + place, f"{batch.fault[place]}: {values or '-'}"))


def refuse_unreadable(name: str, seen: Unreadable) -> None:
    """Raise RawDataError when more than ``UNREADABLE_SHARE`` of the rows of a file cannot be read."""
    if seen.n_unreadable > UNREADABLE_SHARE * seen.n_rows:
        examples = "; ".join(f"row {row} {what}" for row, what in seen.examples[:_EXAMPLES])
        raise RawDataError(
            f"{name}: {seen.n_unreadable} of {seen.n_rows} rows cannot be read ({examples}); "
            "check its encoding and format: UTF-8, and one JSON object per line if JSON Lines"
        )


@dataclass(frozen=True)
class _Kind:
    names: Callable[[Path], list[str]]
    batches: Callable[[Path, list[str], int], Iterator[TableBatch]]


def _kind(source: Source) -> _Kind:
    name = source.path.name.lower()
    plain = name.removesuffix(".gz")
    if plain.endswith(".csv"):
        return _Kind(_csv_names, _csv_batches)
    if name.endswith((".parquet", ".pq")):
        return _Kind(_parquet_names, _parquet_batches)
    if plain.endswith((".jsonl", ".ndjson", ".json")):
        return _Kind(_json_names, _json_batches)
    raise RawDataError(
        f"{source.name}: unknown kind of file; known are .csv, .jsonl (.ndjson, .json), each also .gz, and .parquet"
    )


@contextmanager
def _damage(source: Source) -> Iterator[None]:
    """Turn what the libraries raise on a damaged file into a RawDataError that names it."""
    try:
        yield
    except _LIBRARY_ERRORS as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise RawDataError(
            f"{source.name} cannot be read ({cause}); check that it is whole, UTF-8, and comma-separated if a CSV"
        ) from error


def _csv_names(path: Path) -> list[str]:
    refuse_utf16(path)
    return _csv(path, lossy=True).collect_schema().names()


def _csv_batches(path: Path, columns: list[str], batch_rows: int) -> Iterator[TableBatch]:
    yield from _csv_rows(path, columns, batch_rows, lossy=not is_utf8(path))


def _csv_lines(path: Path, columns: list[str], batch_rows: int, cut: ByteRange) -> Iterator[TableBatch]:
    """Yield the rows of some lines of a CSV file: those lines are read as a file of their own."""
    with scratch_folder("csv") as directory:
        part = directory / "lines.csv"
        with path.open("rb") as stream, part.open("wb") as out:
            stream.seek(cut.start)
            out.write(cut.header)
            out.write(stream.read(cut.end - cut.start))
        yield from _csv_rows(part, columns, batch_rows, lossy=not cut.is_utf8)


def _csv_rows(path: Path, columns: list[str], batch_rows: int, *, lossy: bool) -> Iterator[TableBatch]:
    frames = _csv(path, lossy=lossy).select(columns).collect_batches(chunk_size=batch_rows)
    yield from _numbered(frames, marks=_undecodable if lossy else None)


def _csv(path: Path, *, lossy: bool) -> pl.LazyFrame:
    # Everything is read as text, so that an id such as 00123 keeps its zeros.
    encoding = "utf8-lossy" if lossy else "utf8"
    return pl.scan_csv(path, infer_schema=False, encoding=encoding, glob=False)  # type: ignore[arg-type]


def _parquet_names(path: Path) -> list[str]:
    return list(pl.read_parquet_schema(path))


def _parquet_batches(
    path: Path, columns: list[str], batch_rows: int, cut: RowRange | None = None
) -> Iterator[TableBatch]:
    scan = pl.scan_parquet(path, hive_partitioning=False, glob=False)
    if cut is not None:
        scan = scan.slice(cut.start, cut.n_rows)
    yield from _numbered(scan.select(columns).collect_batches(chunk_size=batch_rows))


def _json_names(path: Path) -> list[str]:
    refuse_utf16(path)
    try:
        return _json_schema(path)
    except pl.exceptions.PolarsError:
        with scratch_folder("json") as directory:
            repaired = directory / "repaired.jsonl"
            repair_json_lines(path, repaired)
            if names := _json_schema(repaired):
                return names
        raise RawDataError(f"{path}: no line is a JSON object; JSON Lines has one on each line") from None


def _json_schema(path: Path) -> list[str]:
    return list(pl.scan_ndjson(path, infer_schema_length=_INFERRED_LINES).collect_schema())


def _json_batches(path: Path, columns: list[str], batch_rows: int) -> Iterator[TableBatch]:
    with scratch_folder("json") as directory:
        readable, broken = _readable_json(path, directory)
        # Numbers become the text the file has, so that long ids keep every digit.
        schema = dict.fromkeys(columns, pl.String)
        frames = pl.scan_ndjson(readable, schema=schema).collect_batches(chunk_size=batch_rows)
        if broken is None:
            yield from _numbered(frames)
            return
        for batch in _numbered(frames, marks=_undecodable):
            numbers = pl.int_range(batch.first_row, batch.first_row + batch.table.height, eager=True)
            fault = pl.select(
                pl.when(numbers.is_in(broken)).then(pl.lit(NOT_JSON)).otherwise(batch.fault).alias("fault")
            ).to_series()
            yield TableBatch(batch.table, batch.first_row, fault)


def _readable_json(path: Path, directory: Path) -> tuple[Path, pl.Series | None]:
    """Return (a file every line of which is a JSON object, numbers of the lines that were none or None: all were)."""
    try:
        # Reads every line, keeps nothing.
        schema = dict.fromkeys(_json_schema(path)[:1], pl.String)
        pl.scan_ndjson(path, schema=schema).select(pl.all().null_count()).collect(engine="streaming")
    except pl.exceptions.PolarsError:
        repaired = directory / "repaired.jsonl"
        return repaired, pl.Series(repair_json_lines(path, repaired), dtype=pl.Int64)
    return path, None


def _numbered(
    frames: Iterator[pl.DataFrame], marks: Callable[[pl.DataFrame], pl.Series] | None = None
) -> Iterator[TableBatch]:
    row = 1
    for frame in frames:
        yield TableBatch(frame, row, None if marks is None else marks(frame))
        row += frame.height


def _undecodable(table: pl.DataFrame) -> pl.Series:
    replaced = pl.any_horizontal(pl.all().str.contains(_REPLACEMENT, literal=True).fill_null(False))
    return table.select(pl.when(replaced).then(pl.lit(NOT_UTF8)).alias("fault")).to_series()
