"""Split interactions become the arrays that training reads: matrices, positives, hard negatives, popularity."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import HardNegatives, IdMappings, Ids, InteractionDataset, UserItemSets
from recsys.cf.data.split import TEST, TRAIN, VALIDATION
from recsys.config.schema import DataConfig
from recsys.types import IndexVector, Json, index_type

# Users treated at once where something is made for each of them and each item of the pool.
_USER_BLOCK = 100_000
# Share of the items below which a product file is taken to be written with other ids.
PRODUCT_COVERAGE_WARNING = 0.5
INTERACTION_COLUMNS = (
    "user_id", "item_id", "user_idx", "item_idx", "rating", "comment_quality", "confidence", "is_positive",
    "is_hard_negative", "is_trainable_user", "timestamp", "split",
)  # fmt: skip


@dataclass(frozen=True)
class _UserPart:
    ids: pl.Series  # of trainable users
    train_counts: NDArray[np.int64]


@dataclass(frozen=True)
class _TrainPart:
    items: IndexVector
    confidence: NDArray[np.float32]
    positive: NDArray[np.bool_]


@dataclass
class DatasetBuilder:
    """Collects the arrays of a data version from its interactions, part by part.

    The parts have INTERACTION_COLUMNS and one row per (user, item), are sorted by user_id and item_id across all
    of them, which is also the order of the indices, and hold each user whole. About 9 bytes are kept of each
    train row.
    """

    _users: list[_UserPart] = field(default_factory=list)
    _train: list[_TrainPart] = field(default_factory=list)
    _held_out: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: {VALIDATION: [], TEST: []})
    _metadata: list[pl.DataFrame] = field(default_factory=list)
    _items: dict[int, str] = field(default_factory=dict)

    def add(self, part: pl.DataFrame) -> None:
        """Take the next part in."""
        inside = part.filter(pl.col("user_idx").is_not_null() & pl.col("item_idx").is_not_null())
        ids = inside.select("user_idx", "user_id").unique(maintain_order=True)
        train = inside.filter(pl.col("split") == TRAIN)
        first = self._n_users()
        counts = np.bincount(train["user_idx"].to_numpy() - first, minlength=ids.height)
        self._users.append(_UserPart(ids["user_id"], counts))
        self._train.append(
            _TrainPart(
                train["item_idx"].to_numpy().astype(np.int32),
                train["confidence"].to_numpy().astype(np.float32),
                train["is_positive"].to_numpy(),
            )
        )
        for split, frames in self._held_out.items():
            frames.append(part.filter(pl.col("split") == split))
        self._metadata.append(_user_metadata(part))
        self._items.update(inside.select("item_idx", "item_id").unique().iter_rows())

    def finish(
        self, items: pl.DataFrame | None, config: DataConfig, *, content_hash: str
    ) -> InteractionDataset:
        """Return the arrays of the data version, without statistics and not yet published.

        Args:
            items: what ``read_items`` returns, or None.
        """
        mappings = IdMappings(
            Ids(pl.concat([part.ids for part in self._users], rechunk=True)),
            tuple(self._items[idx] for idx in range(len(self._items))),
        )
        shape = (len(mappings.user_ids), len(mappings.item_ids))
        counts = np.concatenate([part.train_counts for part in self._users])
        indices = np.concatenate([part.items for part in self._train])
        values = np.concatenate([part.confidence for part in self._train])
        positive = np.concatenate([part.positive for part in self._train])
        self._train.clear()
        confidence = _csr(counts, indices, values, shape)
        binary, explicit = _subset(confidence, positive), _subset(confidence, ~positive)
        train_counts = np.bincount(indices, minlength=shape[1]).astype(np.int64)
        item_table = _item_table(mappings, items)
        top_items = _top_popular(item_table, train_counts, config.top_popular_items)
        return InteractionDataset(
            version="unpublished",
            content_hash=content_hash,
            X_train_confidence=confidence,
            X_train_binary=binary,
            user_pos_train=_item_sets(binary),
            user_hard_neg_train=HardNegatives(
                _item_sets(explicit), unseen_of_pool(_item_sets(confidence), top_items)
            ),
            val_interactions=pl.concat(self._held_out[VALIDATION]),
            test_interactions=pl.concat(self._held_out[TEST]),
            user_metadata=pl.concat(self._metadata).sort("user_idx", nulls_last=True, maintain_order=True),
            items=item_table,
            mappings=mappings,
            top_k_popular_items=top_items,
            item_popularity=np.log1p(train_counts).astype(np.float32),
            item_train_counts=train_counts,
            stats={},
        )

    def _n_users(self) -> int:
        return sum(len(part.ids) for part in self._users)


def build_dataset(
    interactions: pl.DataFrame, items: pl.DataFrame | None, config: DataConfig, *, content_hash: str
) -> InteractionDataset:
    """Return the arrays of a data version whose interactions are one table, see ``DatasetBuilder``."""
    builder = DatasetBuilder()
    builder.add(interactions)
    return builder.finish(items, config, content_hash=content_hash)


def unseen_of_pool(seen: UserItemSets, pool: IndexVector) -> UserItemSets:
    """Return the pool items each user has no train interaction with, ascending.

    Held-out items are not spared: which they are must not reach training. 4 bytes for each user and item of
    the pool.
    """
    pool = np.sort(pool)
    # As large as it can get: memory that is not written to is not taken.
    indices = np.empty(len(seen) * len(pool), dtype=np.int32)
    counts = np.empty(len(seen), dtype=np.int64)
    end = 0
    for start in range(0, len(seen), _USER_BLOCK):
        unseen = _unseen(seen.indptr[start : start + _USER_BLOCK + 1], seen.indices, pool)
        found = np.broadcast_to(pool, unseen.shape)[unseen]
        indices[end : end + len(found)] = found
        counts[start : start + len(unseen)] = unseen.sum(axis=1)
        end += len(found)
    return UserItemSets(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), indices[:end])


def _unseen(indptr: NDArray[np.int64], indices: IndexVector, pool: IndexVector) -> NDArray[np.bool_]:
    """Return for each user of ``indptr`` and each item of the sorted pool whether the user has not touched it."""
    touched = indices[indptr[0] : indptr[-1]]
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    place = np.searchsorted(pool, touched)
    place[place == len(pool)] = 0
    in_pool = pool[place] == touched
    unseen = np.ones((len(indptr) - 1, len(pool)), dtype=bool)
    unseen[users[in_pool], place[in_pool]] = False
    return unseen


def _csr(
    counts: NDArray[np.int64], indices: IndexVector, values: NDArray[np.float32], shape: tuple[int, int]
) -> csr_matrix:
    indptr = csr_indptr(counts)
    # SciPy keeps both index arrays in one type, so past 2^31 entries it widens the indices too
    return csr_matrix((values, indices, indptr), shape=shape)


def csr_indptr(counts: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return where each row starts and the last one ends: int32, from 2^31 entries on int64."""
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    return np.concatenate([[0], ends]).astype(index_type(total))


def _subset(matrix: csr_matrix, chosen: NDArray[np.bool_]) -> csr_matrix:
    """Return the binary matrix of the chosen entries."""
    before = np.concatenate([[0], np.cumsum(chosen)])
    counts = np.diff(before[matrix.indptr])
    indices = matrix.indices[chosen]
    return _csr(counts, indices, np.ones(len(indices), dtype=np.float32), matrix.shape)


def _item_sets(matrix: csr_matrix) -> UserItemSets:
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False))


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


def _user_metadata(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return one row per user of the cleaned rows, by user_id."""
    return interactions.group_by("user_id", maintain_order=True).agg(
        pl.col("user_idx").first(),
        pl.len().cast(pl.Int32).alias("interactions"),
        pl.col("is_positive").sum().cast(pl.Int32).alias("positives"),
        pl.col("is_trainable_user").first().alias("is_trainable"),
    )


def product_warnings(items: pl.DataFrame, item_ids: Sequence[str]) -> list[str]:
    """Return a sentence when the product files name so few of the items that their ids are others.

    Args:
        items: what ``read_items`` returns.
        item_ids: of the data version.
    """
    n_found = int(items["item_id"].is_in(list(item_ids)).sum())
    if n_found >= PRODUCT_COVERAGE_WARNING * len(item_ids):
        return []
    theirs = f"products like {items['item_id'][0]!r}" if items.height else "they hold no product"
    return [
        f"the product files name {n_found} of {len(item_ids)} items, the others have no title and no number sold: "
        f"items are named like {item_ids[0]!r}, {theirs}; a spreadsheet may have taken away leading zeros"
    ]


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
