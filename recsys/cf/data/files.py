"""The files of a data version in a local directory: written from a dataset, read back into one."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.cf.data.dataset import HardNegatives, IdMappings, InteractionDataset, UserItemSets
from recsys.cf.data.mappings import MAPPINGS_FILE, read_mappings, write_mappings
from recsys.cf.data.npz import (
    damage_as_data_error,
    read_array,
    read_arrays,
    read_csr,
    write_arrays,
    write_csr,
)
from recsys.errors import DataError, DataValidationError
from recsys.types import Json

_BATCH_ROWS = 250_000
INTERACTIONS_FILE = "interactions.parquet"
EMBEDDINGS_FILE = "product_embeddings.npz"
STATS_FILE = "data_stats.json"
REQUIRED_FILES = (
    "X_train_confidence.npz", "X_train_binary.npz", "user_pos_train.npz", "user_hard_neg_train.npz",
    INTERACTIONS_FILE, "val_interactions.parquet", "test_interactions.parquet", MAPPINGS_FILE,
    "item_popularity.npy", "item_train_counts.npy", "top_k_popular_items.json", "user_metadata.parquet",
    "items.parquet", STATS_FILE,
)  # fmt: skip


def write_dataset_files(directory: Path, dataset: InteractionDataset) -> None:
    """Write REQUIRED_FILES but interactions.parquet into ``directory``; equal data give equal bytes."""
    write_csr(directory / "X_train_confidence.npz", dataset.X_train_confidence)
    write_csr(directory / "X_train_binary.npz", dataset.X_train_binary)
    positives, negatives = dataset.user_pos_train, dataset.user_hard_neg_train
    write_arrays(directory / "user_pos_train.npz", {"indptr": positives.indptr, "indices": positives.indices})
    write_arrays(
        directory / "user_hard_neg_train.npz",
        {
            "explicit_indptr": negatives.explicit.indptr,
            "explicit_indices": negatives.explicit.indices,
            "implicit_indptr": negatives.implicit.indptr,
            "implicit_indices": negatives.implicit.indices,
        },
    )
    write_table(directory / "val_interactions.parquet", dataset.val_interactions)
    write_table(directory / "test_interactions.parquet", dataset.test_interactions)
    write_table(directory / "user_metadata.parquet", dataset.user_metadata)
    write_table(directory / "items.parquet", dataset.items)
    write_mappings(directory / MAPPINGS_FILE, dataset.mappings)
    np.save(directory / "item_popularity.npy", dataset.item_popularity)
    np.save(directory / "item_train_counts.npy", dataset.item_train_counts)
    _write_json(directory / "top_k_popular_items.json", dataset.top_k_popular_items.tolist())
    _write_json(directory / STATS_FILE, dataset.stats)


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Write a table as Parquet; equal rows give equal bytes, in however many chunks they lie in memory."""
    frame.rechunk().write_parquet(path)


@dataclass(frozen=True)
class InteractionsFile:
    """interactions.parquet, which is read in parts: it may be larger than memory."""

    path: Path

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows in their order. Raises DataError when the file is damaged."""
        with _parquet_damage(self.path):
            yield from _scan(self.path).collect_batches(chunk_size=_BATCH_ROWS)

    def table(self) -> pl.DataFrame:
        """Return all rows."""
        return pl.concat(self.batches())


def read_dataset_files(
    directory: Path, *, version: str, content_hash: str
) -> tuple[InteractionDataset, InteractionsFile]:
    """Return (dataset, interactions) of ``directory``; arrays are read-only and mapped, not copied.

    Only the form of the files is checked here, their sense by ``validate``. The files may be removed once
    ``interactions`` is not needed any more. Raises DataValidationError with one finding per file that cannot
    be read.
    """
    content: dict[str, Any] = {}
    findings: list[str] = []
    for name in REQUIRED_FILES:
        try:
            content[name] = read_file(directory / name)
        except DataError as error:
            findings.append(str(error))
    if findings:
        raise DataValidationError(
            f"data version {version} is damaged: {'; '.join(findings)}", tuple(findings)
        )
    return _assemble(content, version, content_hash), content[INTERACTIONS_FILE]


def _assemble(content: dict[str, Any], version: str, content_hash: str) -> InteractionDataset:
    negatives = content["user_hard_neg_train.npz"]
    return InteractionDataset(
        version=version,
        content_hash=content_hash,
        X_train_confidence=content["X_train_confidence.npz"],
        X_train_binary=content["X_train_binary.npz"],
        user_pos_train=content["user_pos_train.npz"][""],
        user_hard_neg_train=HardNegatives(negatives["explicit_"], negatives["implicit_"]),
        val_interactions=content["val_interactions.parquet"],
        test_interactions=content["test_interactions.parquet"],
        user_metadata=content["user_metadata.parquet"],
        items=content["items.parquet"],
        mappings=content[MAPPINGS_FILE],
        top_k_popular_items=content["top_k_popular_items.json"],
        item_popularity=content["item_popularity.npy"],
        item_train_counts=content["item_train_counts.npy"],
        stats=content[STATS_FILE],
    )


def read_file(path: Path) -> Any:
    """Return the content of one of REQUIRED_FILES in the form InteractionDataset has it. Raises DataError."""
    if not path.is_file():
        raise DataError(f"{path.name} is missing")
    if path.name == MAPPINGS_FILE:
        return _read_mappings(path)
    if path.name == INTERACTIONS_FILE:
        with _parquet_damage(path):
            _check_columns(path, _scan(path).collect_schema())
        return InteractionsFile(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix == ".npy":
        return read_array(path)
    if path.name.startswith("X_train"):
        return read_csr(path)
    if path.suffix == ".npz":
        return _read_item_sets(path)
    with damage_as_data_error(path):
        document = json.loads(path.read_text("utf-8"))
        if path.name != STATS_FILE:
            top_items = np.array(document, dtype=np.int32)
            top_items.flags.writeable = False
            return top_items
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        return document


def _read_parquet(path: Path) -> pl.DataFrame:
    with _parquet_damage(path):
        frame = pl.read_parquet(path, hive_partitioning=False, glob=False)
    _check_columns(path, frame.schema)
    return frame


def _scan(path: Path) -> pl.LazyFrame:
    return pl.scan_parquet(path, hive_partitioning=False, glob=False)


@contextmanager
def _parquet_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path.name} cannot be read: {cause}") from error


def _check_columns(path: Path, schema: Mapping[str, Any]) -> None:
    wrong = [name for name, dtype in _COLUMNS[path.name].items() if schema.get(name) != dtype]
    if wrong:
        raise DataError(f"{path.name} lacks columns of the right type: {', '.join(wrong)}")


def _read_mappings(path: Path) -> IdMappings:
    counted = (
        _read_parquet(path)
        .sort("kind", "idx")
        .select("kind", "idx", "id", nth=pl.int_range(pl.len()).over("kind"))
    )
    if (counted["idx"] != counted["nth"]).any() or set(counted["kind"]) - {"user", "item"}:
        raise DataError(f"{path.name}: idx are not 0, 1, 2, ... of users and items")
    if counted["id"].null_count():
        raise DataError(f"{path.name}: an id is null")
    return read_mappings(path)


def _read_item_sets(path: Path) -> dict[str, UserItemSets]:
    arrays = read_arrays(path)
    prefixes = ("explicit_", "implicit_") if path.name == "user_hard_neg_train.npz" else ("",)
    sets = {}
    for prefix in prefixes:
        pair = [arrays.get(f"{prefix}indptr"), arrays.get(f"{prefix}indices")]
        indptr, indices = pair
        if indptr is None or indices is None or indptr.ndim != 1 or indices.ndim != 1:
            raise DataError(f"{path.name} lacks {prefix}indptr and {prefix}indices as vectors")
        if indptr.dtype != np.int64 or indices.dtype != np.int32:
            raise DataError(f"{path.name}: {prefix}indptr must be int64 and {prefix}indices int32")
        sets[prefix] = UserItemSets(indptr, indices)
    return sets


def _write_json(path: Path, document: Json | list[int]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


_INTERACTIONS: dict[str, Any] = {
    "user_id": pl.String, "item_id": pl.String, "user_idx": pl.Int32, "item_idx": pl.Int32,
    "rating": pl.Float32, "comment_quality": pl.Float32, "confidence": pl.Float32, "is_positive": pl.Boolean,
    "is_hard_negative": pl.Boolean, "is_trainable_user": pl.Boolean, "timestamp": pl.Datetime("us", "UTC"),
    "split": pl.String,
}  # fmt: skip
_COLUMNS: dict[str, dict[str, Any]] = {
    INTERACTIONS_FILE: _INTERACTIONS,
    "val_interactions.parquet": _INTERACTIONS,
    "test_interactions.parquet": _INTERACTIONS,
    MAPPINGS_FILE: {"kind": pl.String, "idx": pl.Int32, "id": pl.String},
    "user_metadata.parquet": {
        "user_id": pl.String, "user_idx": pl.Int32, "interactions": pl.Int32, "positives": pl.Int32,
        "is_trainable": pl.Boolean,
    },
    "items.parquet": {
        "item_idx": pl.Int32, "item_id": pl.String, "title": pl.String, "num_sold_time": pl.Float64,
    },
}  # fmt: skip
