"""Review files are cut into pieces that executors read and score side by side.

Parquet is cut by rows. A plain CSV is cut where lines end, if its quotes are those of RFC 4180, so that where a line
ends is certain: every quote that opens stands at the start of a field, every one that closes at its end. Other CSV
files, JSON Lines and compressed text are one piece each: many files are read side by side, a large one is not.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.columns import INTERACTION_RULES, resolve_columns
from recsys.cf.data.pieces import ByteRange, Piece, RowRange
from recsys.cf.data.sources import Source
from recsys.cf.data.tables import column_names
from recsys.cf.data.text_files import is_utf8
from recsys.config.schema import InteractionColumns

PIECE_BYTES = 64 << 20  # of a CSV file
PIECE_ROWS = 500_000  # of a Parquet file
_BLOCK_BYTES = 16 << 20
_BOM = b"\xef\xbb\xbf"
_LINE_FEED, _CARRIAGE_RETURN, _COMMA, _QUOTE = 10, 13, 44, 34
_BEFORE_FIELD = (_LINE_FEED, _COMMA, _QUOTE)  # a quote before a quote: both stand for one within a field
_AFTER_FIELD = (_LINE_FEED, _COMMA, _QUOTE)


def cut_files(
    sources: Sequence[Source],
    columns: InteractionColumns,
    piece_bytes: int = PIECE_BYTES,
    piece_rows: int = PIECE_ROWS,
) -> list[Piece]:
    """Return the pieces of all files in their order.

    Reads each plain CSV file twice, about 0.5 GB/s. Raises RawDataError: a file is damaged or lacks a column.
    """
    pieces = []
    for number, source in enumerate(sources):
        resolved = resolve_columns(source.name, column_names(source), INTERACTION_RULES, columns)
        name = source.path.name.lower()
        cuts: Sequence[RowRange | ByteRange | None] = [None]
        if name.endswith((".parquet", ".pq")):
            cuts = _row_ranges(source.path, piece_rows) or [None]
        elif name.endswith(".csv") and source.path.stat().st_size > piece_bytes:
            cuts = _byte_ranges(source.path, piece_bytes) or [None]
        path = str(source.path.absolute())
        pieces += [Piece(number, source.name, path, resolved, cut) for cut in cuts]
    return pieces


def _row_ranges(path: Path, piece_rows: int) -> list[RowRange]:
    n_rows = int(pl.scan_parquet(path, hive_partitioning=False, glob=False).select(pl.len()).collect().item())
    return [RowRange(start, min(piece_rows, n_rows - start)) for start in range(0, n_rows, piece_rows)]


def _byte_ranges(path: Path, piece_bytes: int) -> list[ByteRange]:
    """Return ranges of whole lines; an empty list where it is not certain where lines end."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    first = len(_BOM) if bytes(data[: len(_BOM)]) == _BOM else 0
    if bytes(data[:2]) == b"\x1f\x8b" or data[first] in (_LINE_FEED, _CARRIAGE_RETURN):
        return []  # compressed under the name of a CSV file; or no line of names at the beginning
    quotes = _quotes_before(data, first)
    if quotes is None:
        return []
    start = _line_start(data, first, first, quotes)
    header = bytes(data[:start])
    bounds = [start]
    while bounds[-1] < len(data):
        wanted = bounds[-1] + piece_bytes
        bounds.append(_line_start(data, first, wanted, quotes) if wanted < len(data) else len(data))
    utf8 = is_utf8(path)
    return [ByteRange(header, low, high, utf8) for low, high in pairwise(bounds)]


def _quotes_before(data: NDArray[np.uint8], first: int) -> list[int] | None:
    """Return the number of quotes before each block of the file; None where quotes do not enclose whole fields."""
    counts = [0]
    for low in range(first, len(data), _BLOCK_BYTES):
        places = low + np.flatnonzero(data[low : low + _BLOCK_BYTES] == _QUOTE)
        opens = (counts[-1] + np.arange(len(places))) % 2 == 0
        opening, closing = places[opens], places[~opens]
        before = data[np.maximum(opening - 1, 0)]
        after = data[np.minimum(closing + 1, len(data) - 1)]
        after_that = data[np.minimum(closing + 2, len(data) - 1)]
        starts = np.isin(before, _BEFORE_FIELD) | (opening == first)
        ends = (
            np.isin(after, _AFTER_FIELD)
            | ((after == _CARRIAGE_RETURN) & (after_that == _LINE_FEED))
            | (closing == len(data) - 1)
        )
        if not (starts.all() and ends.all()):
            return None
        counts.append(counts[-1] + len(places))
    return counts if counts[-1] % 2 == 0 else None


def _line_start(data: NDArray[np.uint8], first: int, place: int, quotes: Sequence[int]) -> int:
    """Return where the first line that is not blank begins behind ``place``; the file's end if none does."""
    block = (place - first) // _BLOCK_BYTES
    low = first + block * _BLOCK_BYTES
    n_quotes = quotes[block] + int(np.count_nonzero(data[low:place] == _QUOTE))
    step = 1 << 16
    while place < len(data):
        here = data[place : place + step]
        is_quote = here == _QUOTE
        outside = (n_quotes + np.cumsum(is_quote)) % 2 == 0
        for end in np.flatnonzero((here == _LINE_FEED) & outside):
            start = int(place + end + 1)
            if start < len(data) and data[start] not in (_LINE_FEED, _CARRIAGE_RETURN):
                return start
        n_quotes += int(is_quote.sum())
        place += step
    return len(data)
