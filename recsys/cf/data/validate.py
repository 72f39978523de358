"""Whether a data version makes sense: every law it must obey, with all violations told at once.

After this door nobody checks again.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import InteractionDataset, UserItemSets
from recsys.cf.data.split import COLD, DROPPED, TEST, TRAIN, VALIDATION
from recsys.config.schema import DataConfig
from recsys.errors import DataValidationError
from recsys.types import Json

# confidence is stored as float32(rating + quality); the sum of two rounded numbers may miss by this much.
_ROUNDING = 1e-5


def validate_dataset(dataset: InteractionDataset, interactions: pl.DataFrame, settings: Json) -> None:
    """Return nothing when the data version obeys every law, else raise DataValidationError with all findings.

    Args:
        interactions: all rows of interactions.parquet.
        settings: the manifest's settings; keys this code does not know are ignored.
    """
    findings = _findings(dataset, interactions, settings)
    if findings:
        raise DataValidationError(
            f"data version {dataset.version} is damaged ({len(findings)} findings): {'; '.join(findings)}",
            tuple(findings),
        )


def _findings(dataset: InteractionDataset, interactions: pl.DataFrame, settings: Json) -> list[str]:
    known = {key: value for key, value in settings.items() if key in DataConfig.model_fields}
    try:
        config = DataConfig.model_validate(known)
    except ValidationError as error:
        return [f"the manifest's settings cannot be understood: {error.errors()[0]['msg']}"]
    if findings := list(_structure(dataset)):
        return findings  # the laws below index with what the structure promises
    return [
        *_matrices(dataset, config),
        *_negatives(dataset),
        *_popularity(dataset, config),
        *_ids(dataset, interactions),
        *_splits(dataset, interactions, config),
    ]


def _structure(dataset: InteractionDataset) -> Iterator[str]:
    shape = (len(dataset.mappings.user_ids), len(dataset.mappings.item_ids))
    if 0 in shape:
        yield f"no users or no items: {shape}"
        return
    for name in ("X_train_confidence", "X_train_binary"):
        matrix: csr_matrix = getattr(dataset, name)
        if matrix.shape != shape:
            yield f"{name} has shape {matrix.shape}, mappings say {shape}"
        elif matrix.dtype != np.float32:
            yield f"{name} holds {matrix.dtype}, not float32"
        else:
            yield from _csr_faults(name, matrix.indptr, matrix.indices, shape)
            if len(matrix.data) != len(matrix.indices):
                yield f"{name} has {len(matrix.data)} values for {len(matrix.indices)} indices"
    negatives = dataset.user_hard_neg_train
    for name, sets in (
        ("user_pos_train", dataset.user_pos_train),
        ("user_hard_neg_train explicit", negatives.explicit),
        ("user_hard_neg_train implicit", negatives.implicit),
    ):
        yield from _csr_faults(name, sets.indptr, sets.indices, shape)
    for name in ("item_popularity", "item_train_counts"):
        array: NDArray[np.float32] = getattr(dataset, name)
        if array.shape != (shape[1],):
            yield f"{name} has shape {array.shape}, expected ({shape[1]},)"
    top = dataset.top_k_popular_items
    if (
        top.ndim != 1
        or not len(top)
        or top.min() < 0
        or top.max() >= shape[1]
        or len(set(top.tolist())) != len(top)
    ):
        yield "top_k_popular_items is not a list of distinct item_idx"


def _csr_faults(
    name: str, indptr: NDArray[np.integer], indices: NDArray[np.integer], shape: tuple[int, int]
) -> Iterator[str]:
    if (
        len(indptr) != shape[0] + 1
        or indptr[0] != 0
        or indptr[-1] != len(indices)
        or (np.diff(indptr) < 0).any()
    ):
        yield f"{name} has a broken indptr"
    elif len(indices) and (indices.min() < 0 or indices.max() >= shape[1]):
        yield f"{name} has item_idx outside 0..{shape[1] - 1}"
    else:
        same_row = np.ones(max(len(indices) - 1, 0), dtype=bool)
        starts = indptr[1:-1]
        same_row[starts[(starts > 0) & (starts < len(indices))] - 1] = False
        if (np.diff(indices.astype(np.int64))[same_row] <= 0).any():
            yield f"{name} has indices that are not sorted and unique within a user"


def _matrices(dataset: InteractionDataset, config: DataConfig) -> Iterator[str]:
    confidence, binary = dataset.X_train_confidence, dataset.X_train_binary
    low, high = config.rating_min - _ROUNDING, config.rating_max + 1 + _ROUNDING
    if not np.isfinite(confidence.data).all():
        yield "X_train_confidence has values that are not finite"
    elif not ((confidence.data >= low) & (confidence.data <= high)).all():
        yield (
            f"X_train_confidence has values outside [{config.rating_min:g}, {config.rating_max + 1:g}] "
            f"({confidence.data.min():g}..{confidence.data.max():g})"
        )
    if not (binary.data == 1).all():
        yield "X_train_binary has values other than 1"
    if not np.isin(_pairs(_sets(binary)), _pairs(_sets(confidence))).all():
        yield "X_train_binary has positives that X_train_confidence lacks"
    if not _equal(_sets(binary), dataset.user_pos_train):
        yield "user_pos_train differs from X_train_binary"
    if not np.diff(binary.indptr).all():
        yield "a trainable user has no train positive"


def _negatives(dataset: InteractionDataset) -> Iterator[str]:
    explicit, implicit = dataset.user_hard_neg_train.explicit, dataset.user_hard_neg_train.implicit
    train, positives = _pairs(_sets(dataset.X_train_confidence)), _pairs(dataset.user_pos_train)
    if not np.array_equal(_pairs(explicit), np.setdiff1d(train, positives)):
        yield "explicit hard negatives are not the train rows below the positive threshold"
    pool = np.sort(dataset.top_k_popular_items)
    everything = UserItemSets(
        np.arange(dataset.n_users + 1, dtype=np.int64) * len(pool), np.tile(pool, dataset.n_users)
    )
    if not np.array_equal(_pairs(implicit), np.setdiff1d(_pairs(everything), train, assume_unique=True)):
        yield "implicit hard negatives are not the popular items without a train interaction"


def _popularity(dataset: InteractionDataset, config: DataConfig) -> Iterator[str]:
    counts = np.bincount(dataset.X_train_confidence.indices, minlength=dataset.n_items)
    if not np.array_equal(counts, dataset.item_train_counts):
        yield "item_train_counts differ from X_train_confidence"
    if not np.allclose(dataset.item_popularity, np.log1p(counts), rtol=1e-5):
        yield "item_popularity is not log1p of the train counts"
    if len(dataset.top_k_popular_items) != min(config.top_popular_items, dataset.n_items):
        yield f"top_k_popular_items has {len(dataset.top_k_popular_items)} items"


def _ids(dataset: InteractionDataset, interactions: pl.DataFrame) -> Iterator[str]:
    for index, identifier, ids in (
        ("user_idx", "user_id", dataset.mappings.user_ids),
        ("item_idx", "item_id", dataset.mappings.item_ids),
    ):
        if any(left >= right for left, right in pairwise(ids)):
            yield f"mappings: {identifier} are not sorted and unique"
        expected = pl.DataFrame({index: np.arange(len(ids), dtype=np.int32), identifier: list(ids)})
        for name, frame in (
            ("interactions.parquet", interactions),
            ("user_metadata.parquet" if index == "user_idx" else "items.parquet",
             dataset.user_metadata if index == "user_idx" else dataset.items),
        ):  # fmt: skip
            used = frame.select(index, identifier).filter(pl.col(index).is_not_null()).unique().sort(index)
            if not used.equals(expected):
                yield f"{name}: {index} and {identifier} do not agree with mappings.parquet"


def _splits(dataset: InteractionDataset, interactions: pl.DataFrame, config: DataConfig) -> Iterator[str]:
    unknown = set(interactions["split"].unique()) - {TRAIN, VALIDATION, TEST, COLD, DROPPED}
    if unknown:
        yield f"interactions.parquet has unknown splits {sorted(map(str, unknown))}"
    if interactions.select(pl.struct("user_id", "item_id").is_duplicated().any()).item():
        yield "interactions.parquet has a (user_id, item_id) twice"
    train = interactions.filter(pl.col("split") == TRAIN)
    held_out = {VALIDATION: dataset.val_interactions, TEST: dataset.test_interactions}
    split_rows = interactions.filter(pl.col("split").is_in([TRAIN, VALIDATION, TEST]))
    if split_rows.select(pl.any_horizontal("user_idx", "item_idx").is_null().any()).item():
        yield "interactions.parquet has split rows without an index"
        return
    matrix = dataset.X_train_confidence.tocoo()
    stored = pl.DataFrame({"user_idx": matrix.row, "item_idx": matrix.col, "confidence": matrix.data})
    if not stored.equals(train.select(stored.columns).sort("user_idx", "item_idx").cast(stored.schema)):
        yield "X_train_confidence differs from the train rows of interactions.parquet"
    for name, frame in held_out.items():
        yield from _held_out_faults(name, frame, interactions, train, config)
    yield from _time_faults(held_out[VALIDATION], held_out[TEST], TEST, VALIDATION, config)


def _held_out_faults(
    name: str, frame: pl.DataFrame, interactions: pl.DataFrame, train: pl.DataFrame, config: DataConfig
) -> Iterator[str]:
    if not frame.equals(interactions.filter(pl.col("split") == name)):
        yield f"the {name} file differs from the {name} rows of interactions.parquet"
    if not frame["is_positive"].all() or (frame["rating"] < config.positive_threshold).any():
        yield f"{name} has rows that are not positives"
    leaked = frame.join(train, on=["user_idx", "item_idx"], how="semi").height
    if leaked:
        yield f"{leaked} {name} rows are in train"
    yield from _time_faults(train, frame, name, TRAIN, config)


def _time_faults(
    earlier: pl.DataFrame, later: pl.DataFrame, name: str, earlier_name: str, config: DataConfig
) -> Iterator[str]:
    last = earlier.group_by("user_idx").agg(pl.col("timestamp").max().alias("last"))
    first = later.group_by("user_idx").agg(pl.col("timestamp").min().alias("first"))
    both = first.join(last, on="user_idx")
    # Rows split one by one may tie in time: that is the leak this unit is known for.
    late = (
        pl.col("first") > pl.col("last")
        if config.split_unit == "event"
        else pl.col("first") >= pl.col("last")
    )
    if wrong := both.filter(~late).height:
        yield f"{wrong} users have {name} rows that are not later than their {earlier_name} rows"


def _sets(matrix: csr_matrix) -> UserItemSets:
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices)


def _pairs(sets: UserItemSets) -> NDArray[np.int64]:
    """Return user_idx and item_idx of every pair as one number, ascending."""
    users = np.repeat(np.arange(len(sets), dtype=np.int64), sets.counts())
    return (users << 32) | sets.indices.astype(np.int64)


def _equal(left: UserItemSets, right: UserItemSets) -> bool:
    return np.array_equal(left.indptr, right.indptr) and np.array_equal(left.indices, right.indices)
