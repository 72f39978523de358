"""Train interactions as Spark's ALS wants them: read from the store by the executors, scaled there, three columns.

Spark weighs a pair c = 1 + |r| with preference 1 where r > 0, so r = c - 1; our |value| is c and its sign the
preference. A liked pair with c = 1 would give r = 0, which Spark takes for a disliked one: hence the least r.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.models.als_confidence import row_blocks, scale_values
from recsys.config.schema import AlsConfig
from recsys.storage.local import LocalStore

USER, ITEM, VALUE = "user_idx", "item_idx", "rating"
LEAST_R = np.float32(1e-6)
_READ = (USER, ITEM, "confidence", "is_positive", "split")
_STAGED_SPLIT = "train"
_KEY = "interactions.parquet"


@dataclass(frozen=True)
class TrainRows:
    """Where executors find the train interactions: a Parquet object with the columns of interactions.parquet."""

    store_uri: str
    key: str
    splits: tuple[str, ...] = (_STAGED_SPLIT,)  # the rows of these are train


def spark_ratings(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return r of ``scale_confidence``'s values: the sign of each times max(|value| - 1, 1e-6)."""
    return np.copysign(np.maximum(np.abs(values) - np.float32(1.0), LEAST_R), values)


def ratings_table(session: Any, rows: TrainRows, config: AlsConfig) -> Any:
    """Return a DataFrame of user_idx, item_idx (int) and rating (float), a row for each train interaction."""
    source = importlib.import_module("recsys.engines.spark_source")
    functions = importlib.import_module("pyspark.sql.functions")
    table = source.read_parquet(session, rows.store_uri, [rows.key], _READ)
    train = table.where(functions.col("split").isin(*rows.splits))
    return train.mapInArrow(_scaled(config), f"{USER} int, {ITEM} int, {VALUE} float")


def _scaled(config: AlsConfig) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Return the function that executors apply to record batches of ``_READ``."""
    settings = config.model_dump(mode="json")

    def scale(batches: Iterator[Any]) -> Iterator[Any]:
        arrow, section = importlib.import_module("pyarrow"), AlsConfig(**settings)
        for batch in batches:
            c = batch.column("confidence").to_numpy(zero_copy_only=False).copy()
            scale_values(c, _disliked(batch, c, section), section)
            columns = [batch.column(USER), batch.column(ITEM), arrow.array(spark_ratings(c))]
            yield arrow.RecordBatch.from_arrays(columns, names=[USER, ITEM, VALUE])

    return scale


def _disliked(batch: Any, c: NDArray[np.float32], config: AlsConfig) -> NDArray[np.bool_] | None:
    if config.preference != "threshold":
        return None
    if config.preference_threshold is not None:
        return np.asarray(c < config.preference_threshold)
    return ~np.asarray(batch.column("is_positive").to_numpy(zero_copy_only=False))


def stage_matrices(confidence: csr_matrix, positives: csr_matrix, directory: Path) -> TrainRows:
    """Write matrices that are no data version's as rows into ``directory``, which executors see."""
    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    schema = arrow.schema(
        [(USER, arrow.int32()), (ITEM, arrow.int32()), ("confidence", arrow.float32()),
         ("is_positive", arrow.bool_()), ("split", arrow.string())]
    )  # fmt: skip
    directory.mkdir(parents=True)
    with parquet.ParquetWriter(directory / _KEY, schema) as writer:
        for rows in row_blocks(confidence.indptr):
            block = confidence[rows].tocoo()
            liked = np.asarray(positives[block.row + rows.start, block.col]).ravel() != 0
            split = arrow.repeat(_STAGED_SPLIT, block.nnz)
            users = (block.row + rows.start).astype(np.int32)
            columns = (users, block.col.astype(np.int32), block.data.astype(np.float32), liked, split)
            writer.write_table(arrow.table([arrow.array(one) for one in columns], schema=schema))
    return TrainRows(LocalStore(directory).uri, _KEY)
