"""The training data of one version as one frozen object, with the names of the original specification."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import overload

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.types import IndexVector, Json


class UserItemSets(Mapping[int, frozenset[int]]):
    """Item sets per user_idx, backed by CSR: ``sets[u]`` is a frozenset, ``indices`` are sorted in each row."""

    def __init__(self, indptr: NDArray[np.int64], indices: IndexVector) -> None:
        self.indptr = indptr
        self.indices = indices

    def row(self, user_idx: int) -> IndexVector:
        """Return the item_idx of one user, ascending int32, without a copy."""
        return self.indices[self.indptr[user_idx] : self.indptr[user_idx + 1]]

    def counts(self) -> NDArray[np.int64]:
        """Return the number of items of every user."""
        return np.diff(self.indptr)

    def __getitem__(self, user_idx: int) -> frozenset[int]:
        if not 0 <= user_idx < len(self):
            raise KeyError(user_idx)
        return frozenset(self.row(user_idx).tolist())

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


class HardNegatives(Mapping[int, dict[str, frozenset[int]]]):
    """Hard negatives per user_idx: {"explicit": rated 3 or less, "implicit": popular and never touched}."""

    def __init__(self, explicit: UserItemSets, implicit: UserItemSets) -> None:
        self.explicit = explicit
        self.implicit = implicit

    def __getitem__(self, user_idx: int) -> dict[str, frozenset[int]]:
        return {"explicit": self.explicit[user_idx], "implicit": self.implicit[user_idx]}

    def __len__(self) -> int:
        return len(self.explicit)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))


class Ids(Sequence[str]):
    """The shop's ids in one column, about 20 bytes each: a string is made of one when it is asked for."""

    def __init__(self, column: pl.Series) -> None:
        self.column = column

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[str, ...]: ...
    def __getitem__(self, at: int | slice) -> str | tuple[str, ...]:
        if isinstance(at, slice):
            return tuple(self.column[at])
        found: str = self.column[index(at)]
        return found

    def __len__(self) -> int:
        return len(self.column)

    def __iter__(self) -> Iterator[str]:
        return iter(self.column)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return self.column.equals(other.column)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


def id_column(ids: Sequence[str]) -> pl.Series:
    """Return ids as a column of strings; those of ``Ids`` without a copy."""
    return ids.column if isinstance(ids, Ids) else pl.Series(ids, dtype=pl.String)


def positions(given: Sequence[str], wanted: Sequence[str]) -> NDArray[np.int64]:
    """Return where each wanted id stands among the given ones, which are unique; -1 where it does not."""
    place = pl.DataFrame({"id": id_column(given), "at": np.arange(len(given), dtype=np.int64)})
    found = pl.DataFrame({"id": id_column(wanted)}).join(place, on="id", how="left", maintain_order="left")
    return found["at"].fill_null(-1).to_numpy()


@dataclass(frozen=True)
class IdMappings:
    """The shop's ids by index: ``user_ids[user_idx]`` and ``item_ids[item_idx]``, each sorted and unique."""

    user_ids: Sequence[str]
    item_ids: Sequence[str]

    @cached_property
    def user_to_idx(self) -> dict[str, int]:
        """Map user_id to user_idx."""
        return {user_id: idx for idx, user_id in enumerate(self.user_ids)}

    @cached_property
    def item_to_idx(self) -> dict[str, int]:
        """Map item_id to item_idx."""
        return {item_id: idx for idx, item_id in enumerate(self.item_ids)}


@dataclass(frozen=True)
class InteractionDataset:
    """One verified data version. Matrices are users x items; nobody writes to them."""

    version: str
    content_hash: str
    X_train_confidence: csr_matrix  # float32, 1..6, negatives included
    X_train_binary: csr_matrix  # float32, 1 for train positives
    user_pos_train: UserItemSets
    user_hard_neg_train: HardNegatives
    val_interactions: pl.DataFrame  # columns as interactions.parquet, held-out positives
    test_interactions: pl.DataFrame
    user_metadata: pl.DataFrame
    items: pl.DataFrame  # item_idx, item_id, title, num_sold_time (null where the shop gave none)
    mappings: IdMappings
    top_k_popular_items: IndexVector
    item_popularity: NDArray[np.float32]  # log1p of train interaction counts
    item_train_counts: NDArray[np.int64]
    stats: Json

    @property
    def n_users(self) -> int:
        """Number of trainable users, the rows of both matrices."""
        return int(self.X_train_confidence.shape[0])

    @property
    def n_items(self) -> int:
        """Number of items, the columns of both matrices."""
        return int(self.X_train_confidence.shape[1])

    @cached_property
    def user_seen_train(self) -> UserItemSets:
        """Return every item a user touched in train, liked or not: never recommended again."""
        matrix = self.X_train_confidence
        return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False))

    def held_out(self, split: str) -> UserItemSets:
        """Return the held-out positives of split "validation" or "test" as item sets per user_idx."""
        frame = {"validation": self.val_interactions, "test": self.test_interactions}[split]
        pairs = frame.select("user_idx", "item_idx").sort("user_idx", "item_idx")
        counts = np.bincount(pairs["user_idx"].to_numpy(), minlength=self.n_users)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return UserItemSets(indptr, pairs["item_idx"].to_numpy().astype(np.int32, copy=False))
