"""Pieces of files that processes read on their own, and what each tells; imports no polars, see ``spark_worker``."""

from dataclasses import dataclass, field

from recsys.types import Json


@dataclass(frozen=True)
class RowRange:
    """Consecutive rows of a Parquet file."""

    start: int
    n_rows: int


@dataclass(frozen=True)
class ByteRange:
    """Whole lines of a plain CSV file."""

    header: bytes  # the file's first line, which every piece needs
    start: int
    end: int
    is_utf8: bool  # of the whole file: how the rows of a piece are read depends on it


@dataclass(frozen=True)
class Piece:
    """A file, or a part of one, that is read by one process."""

    file: int  # place among the sources
    name: str  # of the file, for people
    path: str
    columns: dict[str, str]  # our name: the file's column
    cut: RowRange | ByteRange | None  # None: the whole file


@dataclass
class Unreadable:
    """Rows of a file or piece, how many cannot be read, and the first of those: (number, why and what)."""

    n_rows: int = 0
    n_unreadable: int = 0
    examples: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class PieceReport:
    """What became of a piece: where its usable rows are, and what was counted; numbers of rows are the piece's own."""

    frames: tuple[str, ...]  # paths of Parquet files
    n_usable: int
    steps: tuple[Json, ...]  # of its funnel
    ratings_outside: tuple[float, ...]
    unreadable: Unreadable
    polars: str  # version
    error: str | None  # a RawDataError
