"""The original's layout, imported once: matrices, pickled sets and mappings become an ordinary data version.

A directory with
  X_train_confidence.npz   CSR (users, items), confidence 1..6
  user_pos_train           {user_idx: {item_idx, ...}}, or X_train_binary.npz
  mappings                 {user_to_idx, item_to_idx} or {idx_to_user, idx_to_item}; or user_item_mappings, id_mappings
  test_interactions        rows with user_idx and item_idx (or ids), optional rating
  val_interactions         the same, optional
each as .pkl or .json, rows also as .parquet or .csv. Everything else is made anew from these. Ratings follow from
the confidence: rating + comment quality. The layout knows no time of train rows, so the version has no times.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.build import INTERACTION_COLUMNS, build_dataset, summary_counts
from recsys.cf.data.content import content_hash, describe_sources, relevant_settings
from recsys.cf.data.files import INTERACTIONS_FILE, write_dataset_files
from recsys.cf.data.funnel import Funnel
from recsys.cf.data.latest import move_latest, move_latest_forward
from recsys.cf.data.legacy_files import LegacyFiles
from recsys.cf.data.manifest import SCHEMA_VERSION, Manifest
from recsys.cf.data.publish import publish_directory
from recsys.cf.data.split import TEST, TRAIN, VALIDATION
from recsys.cf.data.stats import RowFacts, data_stats
from recsys.cf.data.validate import WITHOUT_TIMES
from recsys.cf.data.version import find_content, store_stats
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError, RawDataError
from recsys.storage.base import Store
from recsys.storage.scratch import scratch_folder
from recsys.types import Json

_RANK = {TRAIN: 0, VALIDATION: 1, TEST: 2}


def import_legacy(store: Store, directory: Path, config: DataConfig) -> tuple[str, Json]:
    """Return (id, data_stats) of the data version made of the original's files in ``directory``, and make it latest.

    Rows that break a law are dropped and counted in the funnel: held-out rows that are also in train or no
    positives, users without a train positive. Users and items without rows disappear; indices are given anew,
    by id. Importing the same files again finds the version, and leaves a later one, or one chosen by hand, the latest.

    Raises:
        RawDataError: a file is missing, damaged, or holds what no such file may hold (nothing of it is run).
        EmptyDataError: nothing to train or test is left.
    """
    files = LegacyFiles(directory)
    sources = describe_sources(legacy=files.sources())
    settings = {**relevant_settings(config, seed=0), WITHOUT_TIMES: True}
    digest = content_hash(sources, settings)
    existing = find_content(store, digest)
    if existing is not None:
        move_latest_forward(store, existing)
        return existing, store_stats(store, existing)
    funnel = Funnel()
    rows = _interactions(files, config, funnel)
    dataset = build_dataset(rows, None, config, content_hash=digest)
    facts = RowFacts()
    facts.add(rows)
    dataset = replace(dataset, stats=data_stats(dataset, facts, funnel, config.split_unit))
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        version="",
        created_at=datetime.now(UTC),
        content_hash=digest,
        sources=sources,
        settings=settings,
        summary=summary_counts(dataset),
        files={},
    )
    with scratch_folder("legacy") as directory:
        write_dataset_files(directory, dataset)
        rows.write_parquet(directory / INTERACTIONS_FILE)
        version = publish_directory(store, directory, manifest)
    move_latest(store, version)
    return version, dataset.stats


def _interactions(files: LegacyFiles, config: DataConfig, funnel: Funnel) -> pl.DataFrame:
    """Return the rows with INTERACTION_COLUMNS."""
    user_ids, item_ids = files.ids()
    rows = pl.concat(
        [
            _train_rows(files, user_ids, item_ids, config),
            _held_out_rows(files, "val_interactions", VALIDATION, user_ids, item_ids, config),
            _held_out_rows(files, "test_interactions", TEST, user_ids, item_ids, config),
        ]
    )
    funnel.rows_in = rows.height
    kept = _lawful(rows.sort("user_id", "item_id", "rank"), config, funnel)
    if not (kept["split"] == TEST).any():
        raise EmptyDataError(f"{files.directory}: no usable test row is left, so nothing could be measured")
    return kept.with_columns(
        (pl.col("rating") + pl.col("comment_quality")).alias("confidence"),
        (~pl.col("is_positive")).alias("is_hard_negative"),
        pl.lit(True).alias("is_trainable_user"),
        *(
            pl.col(identifier).rank("dense").cast(pl.Int32).alias(index) - 1
            for index, identifier in (("user_idx", "user_id"), ("item_idx", "item_id"))
        ),
    ).select(INTERACTION_COLUMNS)


def _lawful(rows: pl.DataFrame, config: DataConfig, funnel: Funnel) -> pl.DataFrame:
    """Drop and count the rows that no version may have; ``rows`` are sorted by pair, train first."""
    pair = ["user_id", "item_id"]
    in_range = pl.col("rating").is_between(config.rating_min, config.rating_max)
    for reason, good in (
        ("rating_out_of_range", in_range),
        ("held_out_row_is_no_positive", (pl.col("split") == TRAIN) | pl.col("is_positive")),
        ("held_out_row_is_in_train", pl.col("rank") == pl.col("rank").min().over(pair)),
        ("row_twice", pl.int_range(pl.len()).over(pair) == 0),
        (
            "user_without_train_positive",
            ((pl.col("split") == TRAIN) & pl.col("is_positive")).any().over("user_id"),
        ),
    ):
        kept = rows.filter(good)
        funnel.drop_rows("import", reason, rows.filter(~good.fill_null(False)))
        if kept.is_empty():
            raise EmptyDataError(f"nothing is left of {rows.height} rows: all dropped for {reason}")
        rows = kept
    return rows


def _train_rows(
    files: LegacyFiles, user_ids: NDArray[Any], item_ids: NDArray[Any], config: DataConfig
) -> pl.DataFrame:
    confidence = files.matrix("X_train_confidence")
    if confidence.shape != (len(user_ids), len(item_ids)):
        raise RawDataError(
            f"{files.directory}: X_train_confidence is {confidence.shape}, the mappings know "
            f"{len(user_ids)} users and {len(item_ids)} items"
        )
    entries = confidence.tocoo()
    positive = _is_positive(files.positives(confidence.shape), entries.row, entries.col)
    values = entries.data.astype(np.float64)
    # 4.0 is four stars, or three and a full text: the positives know.
    rating = np.minimum(np.floor(values), config.rating_max)
    rating[~positive & (rating >= config.positive_threshold)] -= 1
    quality = np.clip(values - rating, 0, 1)
    return _rows(user_ids[entries.row], item_ids[entries.col], rating, quality, positive, TRAIN)


def _is_positive(
    positives: csr_matrix, users: NDArray[np.int32], items: NDArray[np.int32]
) -> NDArray[np.bool_]:
    return np.asarray(positives[users, items]).ravel() > 0


def _held_out_rows(
    files: LegacyFiles,
    name: str,
    split: str,
    user_ids: NDArray[Any],
    item_ids: NDArray[Any],
    config: DataConfig,
) -> pl.DataFrame:
    users, items, ratings = files.held_out(name, user_ids, item_ids)
    rating = np.array([config.rating_max if one is None else float(one) for one in ratings], dtype=np.float64)
    positive = rating >= config.positive_threshold
    quality = np.full(len(rating), 0.5)
    return _rows(users, items, rating, quality, positive, split)


def _rows(users: Any, items: Any, rating: Any, quality: Any, positive: Any, split: str) -> pl.DataFrame:
    columns: Mapping[str, Any] = {
        "user_id": pl.Series(users, dtype=pl.String),
        "item_id": pl.Series(items, dtype=pl.String),
        "rating": pl.Series(rating, dtype=pl.Float64).cast(pl.Float32),
        "comment_quality": pl.Series(quality, dtype=pl.Float64).cast(pl.Float32),
        "is_positive": pl.Series(positive, dtype=pl.Boolean),
    }
    unknown = pl.lit(None, dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame(columns).with_columns(
        timestamp=unknown, split=pl.lit(split), rank=pl.lit(_RANK[split])
    )
