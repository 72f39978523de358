"""Split interactions become the arrays that training reads: matrices, positives, hard negatives, popularity."""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import HardNegatives, IdMappings, InteractionDataset, UserItemSets
from recsys.cf.data.split import TEST, TRAIN, VALIDATION
from recsys.config.schema import DataConfig
from recsys.types import IndexVector, Json

INTERACTION_COLUMNS = (
    "user_id", "item_id", "user_idx", "item_idx", "rating", "comment_quality", "confidence", "is_positive",
    "is_hard_negative", "is_trainable_user", "timestamp", "split",
)  # fmt: skip


def build_dataset(
    interactions: pl.DataFrame, items: pl.DataFrame | None, config: DataConfig, *, content_hash: str
) -> InteractionDataset:
    """Return the arrays of one data version, without statistics and not yet published.

    Args:
        interactions: one row per (user, item) with INTERACTION_COLUMNS, sorted by user_id and item_id, which
            is also the order of the indices.
        items: what ``read_items`` returns, or None.
    """
    mappings = IdMappings(
        _ids_by_index(interactions, "user_idx", "user_id"), _ids_by_index(interactions, "item_idx", "item_id")
    )
    shape = (len(mappings.user_ids), len(mappings.item_ids))
    train = interactions.filter(pl.col("split") == TRAIN)
    confidence = _csr(train, train["confidence"].to_numpy().astype(np.float32), shape)
    liked = train.filter("is_positive")
    binary = _csr(liked, np.ones(liked.height, dtype=np.float32), shape)
    disliked = train.filter(~pl.col("is_positive"))
    explicit = _csr(disliked, np.ones(disliked.height, dtype=np.float32), shape)
    train_counts = np.bincount(confidence.indices, minlength=shape[1]).astype(np.int64)
    item_table = _item_table(mappings, items)
    top_items = _top_popular(item_table, train_counts, config.top_popular_items)
    return InteractionDataset(
        version="unpublished",
        content_hash=content_hash,
        X_train_confidence=confidence,
        X_train_binary=binary,
        user_pos_train=_item_sets(binary),
        user_hard_neg_train=HardNegatives(
            _item_sets(explicit), UserItemSets(*_unseen_of_pool(confidence, top_items))
        ),
        val_interactions=interactions.filter(pl.col("split") == VALIDATION),
        test_interactions=interactions.filter(pl.col("split") == TEST),
        user_metadata=_user_metadata(interactions),
        items=item_table,
        mappings=mappings,
        top_k_popular_items=top_items,
        item_popularity=np.log1p(train_counts).astype(np.float32),
        item_train_counts=train_counts,
        stats={},
    )


def _ids_by_index(interactions: pl.DataFrame, index: str, identifier: str) -> tuple[str, ...]:
    pairs = interactions.select(index, identifier).filter(pl.col(index).is_not_null()).unique().sort(index)
    return tuple(pairs[identifier].to_list())


def _csr(rows: pl.DataFrame, values: NDArray[np.float32], shape: tuple[int, int]) -> csr_matrix:
    """Return a CSR matrix of rows that are sorted by (user_idx, item_idx) and hold each pair once."""
    counts = np.bincount(rows["user_idx"].to_numpy(), minlength=shape[0])
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return csr_matrix((values, rows["item_idx"].to_numpy().astype(np.int32), indptr), shape=shape)


def _item_sets(matrix: csr_matrix) -> UserItemSets:
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))


def _item_table(mappings: IdMappings, items: pl.DataFrame | None) -> pl.DataFrame:
    table = pl.DataFrame(
        {"item_idx": np.arange(len(mappings.item_ids), dtype=np.int32), "item_id": list(mappings.item_ids)}
    )
    if items is None:
        nothing = pl.lit(None)
        return table.with_columns(
            nothing.cast(pl.String).alias("title"), nothing.cast(pl.Float64).alias("num_sold_time")
        )
    return table.join(items, on="item_id", how="left", maintain_order="left")


def _top_popular(items: pl.DataFrame, train_counts: NDArray[np.int64], size: int) -> IndexVector:
    """Return the most popular item_idx, most popular first; by num_sold_time when any item has one.

    Ties go to the higher train count, then to the lower item_idx.
    """
    sold = items["num_sold_time"].fill_null(0.0).to_numpy()
    order = np.lexsort((np.arange(len(sold)), -train_counts, -sold))
    return order[:size].astype(np.int32)


def _unseen_of_pool(seen: csr_matrix, pool: IndexVector) -> tuple[NDArray[np.int64], IndexVector]:
    """Return (indptr, indices) of the pool items each user has no train interaction with.

    Held-out items are not spared: which they are must not reach training. Needs n_users x pool bytes.
    """
    pool = np.sort(pool)
    touched = csr_matrix(seen[:, pool])
    unseen = np.ones(touched.shape, dtype=bool)
    unseen[np.repeat(np.arange(touched.shape[0]), np.diff(touched.indptr)), touched.indices] = False
    indptr = np.concatenate([[0], np.cumsum(unseen.sum(axis=1))]).astype(np.int64)
    return indptr, pool[np.nonzero(unseen)[1]]


def _user_metadata(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return one row per user of the cleaned rows: those with a user_idx first, in its order, then by user_id."""
    return (
        interactions.group_by("user_id")
        .agg(
            pl.col("user_idx").first(),
            pl.len().cast(pl.Int32).alias("interactions"),
            pl.col("is_positive").sum().cast(pl.Int32).alias("positives"),
            pl.col("is_trainable_user").first().alias("is_trainable"),
        )
        .sort(["user_idx", "user_id"], nulls_last=True)
    )


def summary_counts(dataset: InteractionDataset) -> Json:
    """Return the sizes people ask for first: users, items, train, validation, test rows and test_users."""
    return {
        "users": dataset.n_users,
        "items": dataset.n_items,
        "train": int(dataset.X_train_confidence.nnz),
        "validation": dataset.val_interactions.height,
        "test": dataset.test_interactions.height,
        "test_users": dataset.test_interactions["user_idx"].n_unique(),
    }
