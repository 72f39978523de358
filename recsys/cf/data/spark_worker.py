"""What an executor does with a piece of a file. Imports no polars before its number of threads is set."""

import os
import socket
from pathlib import Path
from uuid import uuid4

from recsys.cf.data.pieces import Piece, PieceReport, Unreadable
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError, RawDataError


def score_piece(piece: Piece, directory: str, config: DataConfig) -> PieceReport:
    """Return the report on a piece whose usable rows are written into ``directory``, scored.

    A piece that is done twice, because an executor died, leaves files that no report names. Raises nothing for
    bad data: which piece is to blame is told by their order, not by who is first. Raises ConfigError: the file is not
    where the driver saw it.
    """
    if not Path(piece.path).is_file():
        raise ConfigError(
            f"{socket.gethostname()} does not see {piece.path}: give files that driver and executors see at the same "
            "path, or addresses of S3"
        )
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # Spark runs one piece for each core
    import polars as pl

    from recsys.cf.data.clean import RowFilter
    from recsys.cf.data.funnel import Funnel
    from recsys.cf.data.raw import parsed_batch
    from recsys.cf.data.sources import Source
    from recsys.cf.data.spark_rows import write_scored
    from recsys.cf.data.tables import count_unreadable, piece_batches

    rows, seen = RowFilter(config, Funnel()), Unreadable()
    frames: list[str] = []
    n_usable, error = 0, None
    try:
        for batch in piece_batches(
            Source(piece.name, Path(piece.path)), sorted(set(piece.columns.values())), piece.cut
        ):
            if batch.table.is_empty():
                continue
            count_unreadable(batch, seen)
            scored = rows.score_batch(parsed_batch(piece.name, piece.columns, batch))
            if not scored.is_empty():
                path = Path(directory) / f"{uuid4().hex}.parquet"
                write_scored(path, scored, config)
                frames.append(str(path))
                n_usable += scored.height
    except RawDataError as raised:
        error = str(raised)
    return PieceReport(
        frames=tuple(frames),
        n_usable=n_usable,
        steps=tuple(step.to_json() for step in rows.funnel.steps),
        ratings_outside=tuple(rows.ratings_outside),
        unreadable=seen,
        polars=pl.__version__,
        error=error,
    )
