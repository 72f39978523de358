"""Who turns raw reviews into split interactions: this machine, or a cluster that makes the same bytes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from recsys.cf.data.append import BaseVersion
from recsys.cf.data.clean import READ_STEPS, RowFilter, newest_per_pair
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.interactions import StepCallback, split_interactions
from recsys.cf.data.raw import interaction_batches
from recsys.cf.data.sources import Source
from recsys.cf.data.staging import StoredFrames, UserOrderedRows
from recsys.config.schema import DataConfig, SparkConfig
from recsys.storage.scratch import scratch_folder


@dataclass(frozen=True)
class Inputs:
    """The files a version is made of, and the version it continues."""

    interactions: list[Source]
    items: list[Source]
    embeddings: list[Source]
    base: BaseVersion | None


@dataclass(frozen=True)
class Making:
    """How a version is made."""

    config: DataConfig
    seed: int
    work: Path
    part_rows: int  # about so many rows are in memory at once
    report: StepCallback


class PrepareEngine(Protocol):
    """The steps from raw reviews to split interactions. Every engine gives the same rows and the same funnel."""

    def workspace(self) -> AbstractContextManager[Path]:
        """Give an empty directory that everybody who takes part sees; removed afterwards."""
        ...

    def interactions(self, inputs: Inputs, making: Making, funnel: Funnel) -> Iterator[pl.DataFrame]:
        """Yield the interactions (INTERACTION_COLUMNS) in the order of user_id and item_id, each user in one part.

        ``funnel`` is whole when the last part is taken. Raises RawDataError and EmptyDataError as ``prepare`` does.
        """
        ...


class LocalEngine:
    """polars on this machine, one range of users at a time."""

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Give a temporary directory."""
        with scratch_folder("prepare") as directory:
            yield directory

    def interactions(self, inputs: Inputs, making: Making, funnel: Funnel) -> Iterator[pl.DataFrame]:
        """Yield the interactions, see ``PrepareEngine``."""
        cleaned = _cleaned(inputs, making, funnel)
        yield from split_interactions(cleaned, making.config, making.seed, funnel, making.report)
        cleaned.remove()


def prepare_engine(name: Literal["local", "spark"], spark: SparkConfig) -> PrepareEngine:
    """Return the engine that ``runtime.engine.prepare`` names; starts nothing yet."""
    if name == "local":
        return LocalEngine()
    from recsys.cf.data.spark_engine import SparkEngine

    return SparkEngine(spark)


def _cleaned(inputs: Inputs, making: Making, funnel: Funnel) -> StoredFrames:
    """Return the valid rows, one per pair, in the order of user_id and item_id, on disk."""
    staged = UserOrderedRows(making.work / "runs")
    rows = RowFilter(making.config, funnel)
    if inputs.base is not None:
        inputs.base.count_into(funnel)
        for frame in inputs.base.rows():
            staged.add(frame)
    for batch in interaction_batches(inputs.interactions, making.config.columns):
        staged.add(rows.score_batch(batch))
        making.report("read", funnel.rows_in)
    rows.check()
    cleaned = StoredFrames(making.work / "cleaned")
    for part in staged.parts(making.part_rows):
        cleaned.add(newest_per_pair(part, funnel))
    staged.remove()
    making.report("clean", funnel.rows_out)
    funnel.log(*READ_STEPS)
    return cleaned
