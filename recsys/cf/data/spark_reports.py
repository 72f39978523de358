"""What executors say about the pieces of files becomes one funnel, as if one process had read the files in order."""

import logging
from collections.abc import Sequence
from itertools import groupby

import polars as pl

from recsys.cf.data.clean import RowFilter
from recsys.cf.data.funnel import FunnelStep
from recsys.cf.data.pieces import Piece, PieceReport, Unreadable
from recsys.cf.data.tables import refuse_unreadable
from recsys.errors import ConfigError, EmptyDataError, RawDataError
from recsys.types import Json

logger = logging.getLogger(__name__)


def count_reports(pieces: Sequence[Piece], reports: Sequence[PieceReport], rows: RowFilter) -> None:
    """Count what the reports on all pieces, both in the order of the files, say into ``rows`` and its funnel.

    Raises:
        RawDataError: a file cannot be read, or too many of its rows; the first such file is named.
        EmptyDataError: no file has a row. ConfigError: an executor has another version of polars.
    """
    other = {report.polars for report in reports} - {pl.__version__}
    if other:
        raise ConfigError(
            f"Spark executors have polars {', '.join(sorted(other))}, this is {pl.__version__}: results could differ; "
            "install the same versions on every worker (constraints.txt)"
        )
    n_before = rows.funnel.rows_in
    for _, of_file in groupby(zip(pieces, reports, strict=True), key=lambda pair: pair[0].file):
        _count_file(list(of_file), rows)
    if rows.funnel.rows_in == n_before:
        names = ", ".join(dict.fromkeys(piece.name for piece in pieces))
        raise EmptyDataError(f"{names}: a header but no rows: nothing to prepare")


def _count_file(of_file: Sequence[tuple[Piece, PieceReport]], rows: RowFilter) -> None:
    whole, piece = Unreadable(), of_file[0][0]
    for _, report in of_file:
        if report.error is not None:
            raise RawDataError(report.error)
        first, part = whole.n_rows, report.unreadable
        rows.funnel.rows_in += part.n_rows
        rows.ratings_outside += report.ratings_outside
        for document in report.steps:
            step = FunnelStep.from_json(document)
            samples = [_in_file(sample, first) for sample in step.samples]
            rows.funnel.drop(step.step, step.reason, step.rows, samples)
        whole.examples += [(first + row, what) for row, what in part.examples]
        whole.n_rows += part.n_rows
        whole.n_unreadable += part.n_unreadable
    refuse_unreadable(piece.name, whole)
    logger.info(
        "read %s rows=%d columns=%s pieces=%d",
        piece.name,
        whole.n_rows,
        ",".join(piece.columns),
        len(of_file),
    )


def _in_file(sample: Json, first: int) -> Json:
    """Return a sample with the row's number in the file instead of the piece."""
    return {**sample, "row": sample["row"] + first}
