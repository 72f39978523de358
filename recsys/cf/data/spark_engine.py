"""Preparation on a Spark cluster: the same rows and the same funnel as on one machine, byte for byte.

Executors read pieces of the files with the functions that one machine uses (``spark_worker``) and leave scored rows in
the shared directory; Spark SQL removes duplicates, filters and splits (``spark_rules``, ``spark_items``); the driver
takes the result range by range, in the order of user_id, and builds the version as it always does.
"""

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from recsys.cf.data.clean import READ_STEPS, RowFilter
from recsys.cf.data.engine import Inputs, Making
from recsys.cf.data.funnel import Funnel, sample_rows
from recsys.cf.data.interactions import WithConfidence, nothing_held_out
from recsys.cf.data.spark_pieces import PIECE_BYTES, PIECE_ROWS, cut_files
from recsys.cf.data.spark_reports import count_reports
from recsys.cf.data.spark_rows import SCORED_SCHEMA, SplitRows, counted_splits, rows_of_spark, write_scored
from recsys.cf.data.spark_worker import score_piece
from recsys.cf.data.split import TEST
from recsys.config.schema import SparkConfig
from recsys.engines.spark_environment import SHARED_MODE, own_directory
from recsys.engines.spark_session import n_partitions, spark_session
from recsys.errors import EmptyDataError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_SCORED, _SPLIT = "scored", "split"  # directories of rows


@dataclass(frozen=True)
class SparkEngine:
    """Preparation by the cluster of ``config``; pieces of files are about so large."""

    config: SparkConfig
    piece_bytes: int = PIECE_BYTES
    piece_rows: int = PIECE_ROWS

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a directory in ``spark.shared_directory``, or a temporary one of this machine."""
        with own_directory(self.config, "prepare") as work:
            yield work

    def interactions(self, inputs: Inputs, making: Making, funnel: Funnel) -> Iterator[pl.DataFrame]:
        """Yield the interactions, see ``PrepareEngine``."""
        with spark_session(self.config, "recsys prepare") as session:
            # settings of its own; Java and cluster are shared with whoever else uses them
            split = self._split(session.newSession(), inputs, making, funnel)
        shutil.rmtree(making.work / _SCORED, ignore_errors=True)  # room for the rest; all goes in the end
        segmentation = split.segmentation()
        making.report("segment", segmentation.n_rows)
        holds_out = False
        rows = segmentation.apply(WithConfidence(split, making.config), funnel)
        for part in counted_splits(rows, funnel):
            holds_out = holds_out or bool((part["split"] == TEST).any())
            yield part
        if not holds_out:
            raise nothing_held_out(int(segmentation.users.sum()))
        making.report("split", funnel.rows_out)
        funnel.log("segment", "split")

    def _split(self, session: Any, inputs: Inputs, making: Making, funnel: Funnel) -> SplitRows:
        """Return the cleaned rows with what Spark decided on each; what was dropped before is counted."""
        from pyspark import StorageLevel

        from recsys.cf.data.spark_items import drawn_users, kept_items
        from recsys.cf.data.spark_rules import ranked_rows, segmented, split_rows

        paths, n_rows = self._scored(session, inputs, making, funnel)
        n_parts = max(n_partitions(session, self.config), math.ceil(n_rows / making.part_rows))
        session.conf.set("spark.sql.shuffle.partitions", str(n_parts))
        config = making.config
        ranked = ranked_rows(session.read.schema(SCORED_SCHEMA).parquet(*paths), n_parts, config)
        ranked.persist(StorageLevel.DISK_ONLY)
        cleaned = ranked.filter("nth = 1")
        _count_older(ranked, n_rows - cleaned.count(), funnel)
        making.report("clean", funnel.rows_out)
        funnel.log(*READ_STEPS)
        try:
            kept = kept_items(session, cleaned, config)
            drawn = drawn_users(session, cleaned, kept, config, making.seed)
        except EmptyDataError as error:
            raise EmptyDataError(f"{error}{funnel.explain()}") from error
        users, items, first = (None, kept, None) if drawn is None else (*drawn, kept)
        rows = split_rows(segmented(cleaned, items, first, users, config), config)
        rows.write.parquet((making.work / _SPLIT).as_uri(), compression="snappy")
        ranked.unpersist()
        return SplitRows(making.work / _SPLIT)

    def _scored(self, session: Any, inputs: Inputs, making: Making, funnel: Funnel) -> tuple[list[str], int]:
        """Return (paths of the scored rows, their number)."""
        directory = making.work / _SCORED
        directory.mkdir()
        directory.chmod(SHARED_MODE if self.config.shared_directory else 0o700)
        paths, n_rows = [], 0
        if inputs.base is not None:
            inputs.base.count_into(funnel)
            for number, frame in enumerate(inputs.base.rows()):
                path = directory / f"base-{number:06d}.parquet"
                write_scored(path, frame, making.config)
                paths.append(str(path))
                n_rows += frame.height
        pieces = cut_files(inputs.interactions, making.config.columns, self.piece_bytes, self.piece_rows)
        work = partial(score_piece, directory=str(directory), config=making.config)
        reports = session.sparkContext.parallelize(pieces, len(pieces)).map(work).collect()
        rows = RowFilter(making.config, funnel)
        count_reports(pieces, reports, rows)
        making.report("read", funnel.rows_in)
        rows.check()
        paths += [path for report in reports for path in report.frames]
        return [Path(path).as_uri() for path in paths], n_rows + sum(report.n_usable for report in reports)


def _count_older(ranked: "DataFrame", n_older: int, funnel: Funnel) -> None:
    """Count the rows that a newer one of the same pair replaces; the first of them are the samples."""
    order = ["user_id", "item_id", "timestamp", "rating", "comment_quality"]
    samples = []
    if n_older:
        older = ranked.filter("nth > 1").orderBy(*order, ascending=[True, True, False, False, False]).limit(3)
        samples = sample_rows(rows_of_spark(pl.DataFrame(pl.from_arrow(older.toArrow()))))
    funnel.drop("deduplicate", "older_row_of_same_user_and_item", n_older, samples)
