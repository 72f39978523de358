"""Whether a data version makes sense: every law it must obey, with all violations told at once.

After this door nobody checks again.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.sparse import csr_matrix

from recsys.cf.data.build import summary_counts, unseen_of_pool
from recsys.cf.data.dataset import InteractionDataset, UserItemSets, id_column
from recsys.cf.data.files import InteractionsFile
from recsys.cf.data.validate_rows import interaction_faults
from recsys.config.schema import DataConfig
from recsys.errors import DataValidationError
from recsys.types import Json

# confidence is stored as float32(rating + quality); the sum of two rounded numbers may miss by this much.
_ROUNDING = 1e-5
_LOGARITHM_ROUNDING = 5e-7  # relative, in float32: mathematical libraries differ in the last bit
_USER_BLOCK = 100_000
_ENTRY_BLOCK = 10_000_000
# Setting of versions that were imported without the times of their reviews.
WITHOUT_TIMES = "without_times"


def validate_dataset(dataset: InteractionDataset, interactions: InteractionsFile, settings: Json) -> None:
    """Return nothing when the data version obeys every law, else raise DataValidationError with all findings.

    Reads the interactions once, in parts; about a second per million rows, and memory for one part.

    Args:
        settings: the manifest's settings; keys this code does not know are ignored.
    """
    findings = _findings(dataset, interactions, settings)
    if findings:
        raise DataValidationError(
            f"data version {dataset.version} is damaged ({len(findings)} findings): {'; '.join(findings)}",
            tuple(findings),
        )


def _findings(dataset: InteractionDataset, interactions: InteractionsFile, settings: Json) -> list[str]:
    known = {key: value for key, value in settings.items() if key in DataConfig.model_fields}
    try:
        config = DataConfig.model_validate(known)
    except ValidationError as error:
        return [f"the manifest's settings cannot be understood: {error.errors()[0]['msg']}"]
    if findings := list(_structure(dataset)):
        return findings  # the laws below index with what the structure promises
    return [
        *_matrices(dataset, config),
        *_item_sets(dataset),
        *_popularity(dataset, config),
        *_ids(dataset),
        *_statistics(dataset),
        *interaction_faults(dataset, interactions, config, times_known=not settings.get(WITHOUT_TIMES)),
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
    for name, dtype in (("item_popularity", np.float32), ("item_train_counts", np.int64)):
        array: NDArray[Any] = getattr(dataset, name)
        if array.shape != (shape[1],) or array.dtype != dtype:
            yield f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} ({shape[1]},)"
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
    elif not _rises_within_rows(indptr, indices):
        yield f"{name} has indices that are not sorted and unique within a user"


def _rises_within_rows(indptr: NDArray[np.integer], indices: NDArray[np.integer]) -> bool:
    """Return whether each entry is greater than the one before it, unless a row starts there."""
    for start in range(0, len(indices) - 1, _ENTRY_BLOCK):
        block = indices[start : start + _ENTRY_BLOCK + 1]
        falls = np.flatnonzero(block[1:] <= block[:-1]) + start + 1
        if not np.array_equal(indptr[np.searchsorted(indptr, falls)], falls):
            return False
    return True


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
    if not _equal(_sets(binary), dataset.user_pos_train):
        yield "user_pos_train differs from X_train_binary"
    if not np.diff(binary.indptr).all():
        yield "a trainable user has no train positive"


def _item_sets(dataset: InteractionDataset) -> Iterator[str]:
    """Compare the sets of each user, some users at a time: an implicit negative for each would fill memory."""
    explicit, implicit = dataset.user_hard_neg_train.explicit, dataset.user_hard_neg_train.implicit
    seen_by_user = _sets(dataset.X_train_confidence)
    faults: set[str] = set()
    for start in range(0, dataset.n_users, _USER_BLOCK):
        users = slice(start, min(start + _USER_BLOCK, dataset.n_users))
        train, positives = (
            _block(seen_by_user, users),
            _block(dataset.user_pos_train, users),
        )
        liked, disliked, seen = (_pairs(one) for one in (positives, _block(explicit, users), train))
        if not np.array_equal(np.sort(np.concatenate([liked, disliked])), seen):
            faults.add(
                "explicit hard negatives are not the train rows below the positive threshold"
                if np.isin(liked, seen).all()
                else "X_train_binary has positives that X_train_confidence lacks"
            )
        if not _equal(_block(implicit, users), unseen_of_pool(train, dataset.top_k_popular_items)):
            faults.add("implicit hard negatives are not the popular items without a train interaction")
    yield from sorted(faults)


def _popularity(dataset: InteractionDataset, config: DataConfig) -> Iterator[str]:
    counts = np.bincount(dataset.X_train_confidence.indices, minlength=dataset.n_items)
    if not np.array_equal(counts, dataset.item_train_counts):
        yield "item_train_counts differ from X_train_confidence"
    if not np.allclose(dataset.item_popularity, np.log1p(counts), rtol=_LOGARITHM_ROUNDING, atol=0):
        yield "item_popularity is not log1p of the train counts"
    if len(dataset.top_k_popular_items) != min(config.top_popular_items, dataset.n_items):
        yield f"top_k_popular_items has {len(dataset.top_k_popular_items)} items"


def _ids(dataset: InteractionDataset) -> Iterator[str]:
    mappings = dataset.mappings
    for index, identifier, ids, name, frame in (
        ("user_idx", "user_id", mappings.user_ids, "user_metadata.parquet", dataset.user_metadata),
        ("item_idx", "item_id", mappings.item_ids, "items.parquet", dataset.items),
    ):
        column = id_column(ids)
        if not (column.slice(0, len(column) - 1) < column.slice(1)).all():
            yield f"mappings: {identifier} are not sorted and unique"
        expected = pl.DataFrame({index: np.arange(len(ids), dtype=np.int32), identifier: column})
        if not frame.select(index, identifier).filter(pl.col(index).is_not_null()).equals(expected):
            yield f"{name}: {index} and {identifier} do not agree with mappings.parquet"
    metadata = dataset.user_metadata
    if not metadata["is_trainable"].equals(metadata["user_idx"].is_not_null(), check_names=False):
        yield "user_metadata.parquet: is_trainable does not say which users have an index"


def _statistics(dataset: InteractionDataset) -> Iterator[str]:
    stats = dataset.stats
    try:
        dropped = sum(step["rows"] for step in stats["funnel"])
        adds_up = stats["rows_in"] - dropped == stats["rows_out"]
        sizes = summary_counts(dataset)
        agrees = all(stats["sizes"][name] == size for name, size in sizes.items())
        kept = sizes["train"] + sizes["validation"] + sizes["test"]
    except (KeyError, TypeError):
        yield "data_stats.json lacks funnel, rows or sizes"
        return
    if not adds_up or kept != stats["rows_out"]:
        yield "data_stats.json: the funnel does not add up to the rows there are"
    if not agrees:
        yield "data_stats.json: the sizes are not those of the matrices"


def _sets(matrix: csr_matrix) -> UserItemSets:
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices)


def _block(sets: UserItemSets, users: slice) -> UserItemSets:
    indptr = sets.indptr[users.start : users.stop + 1]
    return UserItemSets(indptr - indptr[0], sets.indices[indptr[0] : indptr[-1]])


def _pairs(sets: UserItemSets) -> NDArray[np.int64]:
    """Return user_idx and item_idx of every pair as one number, ascending."""
    users = np.repeat(np.arange(len(sets), dtype=np.int64), sets.counts())
    return (users << 32) | sets.indices.astype(np.int64)


def _equal(left: UserItemSets, right: UserItemSets) -> bool:
    return np.array_equal(left.indptr, right.indptr) and np.array_equal(left.indices, right.indices)
