"""The laws of interactions.parquet, checked in one pass over its rows against mappings, matrices and held-out rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.dataset import InteractionDataset, id_column
from recsys.cf.data.files import InteractionsFile
from recsys.cf.data.split import COLD, DROPPED, TEST, TRAIN, VALIDATION
from recsys.config.schema import DataConfig
from recsys.errors import DataError
from recsys.types import IndexVector

_ROUNDING = 1e-5  # of confidence = rating + comment_quality in float32
_NEVER, _ALWAYS = np.iinfo(np.int64).min, np.iinfo(np.int64).max  # microseconds
_KNOWN_SPLITS = {TRAIN, VALIDATION, TEST, COLD, DROPPED}


def interaction_faults(
    dataset: InteractionDataset, interactions: InteractionsFile, config: DataConfig, *, times_known: bool
) -> list[str]:
    """Return what is wrong with the rows of the file; an empty list when nothing is.

    Args:
        dataset: its structure is sound already: indices lie within its shape.
        times_known: False: rows may lack their time, as in an imported version.
    """
    check = _Check(dataset, config, times_known)
    try:
        for batch in interactions.batches():
            check.rows(batch)
    except DataError as error:
        return [str(error)]
    return [*sorted(check.faults), *check.at_the_end()]


@dataclass
class _Check:
    dataset: InteractionDataset
    config: DataConfig
    times_known: bool
    faults: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        mappings = self.dataset.mappings
        self.user_ids, self.item_ids = id_column(mappings.user_ids), id_column(mappings.item_ids)
        n_users = self.dataset.n_users
        self.n_rows_of_user = np.zeros(n_users, dtype=np.int64)
        self.n_positives_of_user = np.zeros(n_users, dtype=np.int64)
        self.n_rows = self.n_train = self.n_positives = 0
        self.held_out = {VALIDATION: self.dataset.val_interactions, TEST: self.dataset.test_interactions}
        self.n_held_out = dict.fromkeys(self.held_out, 0)
        self.last_ids = ("", "")
        self.last_train = np.full(n_users, _NEVER)
        self.edges = {
            name: (np.full(n_users, _ALWAYS), np.full(n_users, _NEVER)) for name in (VALIDATION, TEST)
        }

    def rows(self, rows: pl.DataFrame) -> None:
        """Check the next rows of the file."""
        self.faults.update(self._row_faults(rows), self._order_faults(rows))
        self.n_rows += rows.height
        with_user = rows.filter(pl.col("user_idx").is_not_null())
        users = with_user["user_idx"].to_numpy()
        if not self._agrees("user", users, with_user["user_id"], self.user_ids):
            return
        with_item = rows.filter(pl.col("item_idx").is_not_null())
        if not self._agrees("item", with_item["item_idx"].to_numpy(), with_item["item_id"], self.item_ids):
            return
        self.n_rows_of_user += np.bincount(users, minlength=self.dataset.n_users)
        liked = users[with_user["is_positive"].to_numpy()]
        self.n_positives_of_user += np.bincount(liked, minlength=self.dataset.n_users)
        split = rows.filter(pl.col("split").is_in([TRAIN, VALIDATION, TEST]))
        if split.select(pl.any_horizontal("user_idx", "item_idx").is_null().any()).item():
            self.faults.add("interactions.parquet has split rows without an index")
            return
        self._train_rows(split.filter(pl.col("split") == TRAIN))
        self._held_out_rows(split.filter(pl.col("split") != TRAIN))

    def at_the_end(self) -> Iterator[str]:
        """Yield what only the whole file can tell."""
        dataset, metadata = self.dataset, self.dataset.user_metadata
        if self.n_train != dataset.X_train_confidence.nnz or self.n_positives != dataset.X_train_binary.nnz:
            yield "X_train_confidence differs from the train rows of interactions.parquet in number"
        indexed = metadata.filter(pl.col("user_idx").is_not_null())
        if (
            not np.array_equal(indexed["interactions"].to_numpy(), self.n_rows_of_user)
            or not np.array_equal(indexed["positives"].to_numpy(), self.n_positives_of_user)
            or metadata["interactions"].sum() != self.n_rows
        ):
            yield "user_metadata.parquet does not count the rows of interactions.parquet"
        for name, stored in self.held_out.items():
            if stored.height != self.n_held_out[name]:
                yield f"the {name} file differs from the {name} rows of interactions.parquet in number"
            yield from self._held_out_faults(name, stored)
        yield from self._time_faults()

    def _row_faults(self, rows: pl.DataFrame) -> Iterator[str]:
        low, high, threshold = self.config.rating_min, self.config.rating_max, self.config.positive_threshold
        rating, quality, time = pl.col("rating"), pl.col("comment_quality"), pl.col("timestamp")
        positive, indexed = pl.col("is_positive"), pl.col("user_idx").is_not_null()
        inside = indexed & pl.col("item_idx").is_not_null()
        laws = {
            "an id that is null or empty": (pl.col("user_id") != "") & (pl.col("item_id") != ""),
            f"a rating outside [{low:g}, {high:g}]": rating.is_between(low, high),
            "a comment_quality outside [0, 1]": quality.is_between(0, 1),
            "a confidence that is not rating + comment_quality": (
                (pl.col("confidence") - rating - quality).abs() <= _ROUNDING
            ),
            "is_positive against the rating": positive == (rating >= threshold),
            "is_hard_negative against is_positive": pl.col("is_hard_negative") != positive,
            "is_trainable_user against user_idx": pl.col("is_trainable_user") == indexed,
            "a row without a time": time.is_not_null() if self.times_known else pl.lit(True),
            "unknown splits": pl.col("split").is_in(list(_KNOWN_SPLITS)),
            "a split that its indices forbid": (
                (pl.col("split") == COLD) == ~indexed
            ) & (inside | pl.col("split").is_in([COLD, DROPPED])),
        }  # fmt: skip
        holds = rows.select(law.fill_null(False).all().alias(name) for name, law in laws.items())
        for name, every in holds.row(0, named=True).items():
            if not every:
                example = rows.filter(~laws[name].fill_null(False)).row(0, named=True)
                shown = {key: str(example[key]) for key in ("user_id", "item_id", "rating", "split")}
                yield f"interactions.parquet has {name}, such as {shown}"

    def _order_faults(self, rows: pl.DataFrame) -> Iterator[str]:
        if rows.is_empty():
            return
        before = pl.DataFrame(
            [self.last_ids], schema={"user_id": pl.String, "item_id": pl.String}, orient="row"
        )
        ids = pl.concat([before, rows.select("user_id", "item_id")])
        user, item = pl.col("user_id"), pl.col("item_id")
        later = (user > user.shift()) | ((user == user.shift()) & (item > item.shift()))
        if not ids.select(later.slice(1).fill_null(False).all()).item():
            yield "interactions.parquet is not in the order of its ids, or has a (user_id, item_id) twice"
        self.last_ids = rows.select(user.fill_null(""), item.fill_null("")).row(-1)

    def _agrees(self, kind: str, idx: IndexVector, ids: pl.Series, mapped: pl.Series) -> bool:
        """Return whether the indices can be used; whether they agree with the mappings becomes a fault."""
        if idx.size and (idx.min() < 0 or idx.max() >= len(mapped)):
            self.faults.add(f"interactions.parquet has {kind}_idx outside 0..{len(mapped) - 1}")
            return False
        if not mapped.gather(idx).equals(ids):
            self.faults.add(
                f"interactions.parquet: {kind}_idx and {kind}_id do not agree with mappings.parquet"
            )
        return True

    def _train_rows(self, train: pl.DataFrame) -> None:
        """Compare with the next entries of the matrices: both are in the order of the indices."""
        confidence, binary = self.dataset.X_train_confidence, self.dataset.X_train_binary
        liked = train.filter("is_positive")
        entries = slice(self.n_train, self.n_train + train.height)
        positives = slice(self.n_positives, self.n_positives + liked.height)
        if (
            not np.array_equal(confidence.data[entries], train["confidence"].to_numpy())
            or not _same_entries(confidence.indptr, confidence.indices, entries, train)
            or not _same_entries(binary.indptr, binary.indices, positives, liked)
        ):
            self.faults.add("X_train_confidence differs from the train rows of interactions.parquet")
        self.n_train, self.n_positives = entries.stop, positives.stop
        np.maximum.at(self.last_train, train["user_idx"].to_numpy(), _times(train, _NEVER))

    def _held_out_rows(self, rows: pl.DataFrame) -> None:
        for name, (first, last) in self.edges.items():
            part = rows.filter(pl.col("split") == name)
            start = self.n_held_out[name]
            if not self.held_out[name].slice(start, part.height).equals(part):
                self.faults.add(f"the {name} file differs from the {name} rows of interactions.parquet")
            self.n_held_out[name] = start + part.height
            np.minimum.at(first, part["user_idx"].to_numpy(), _times(part, _ALWAYS))
            np.maximum.at(last, part["user_idx"].to_numpy(), _times(part, _NEVER))

    def _held_out_faults(self, name: str, stored: pl.DataFrame) -> Iterator[str]:
        not_positive = ~pl.col("is_positive") | (pl.col("rating") < self.config.positive_threshold)
        if stored.select(not_positive.fill_null(True).any()).item():
            yield f"{name} has rows that are not positives"
        users, items = stored["user_idx"].to_numpy(), stored["item_idx"].to_numpy()
        train = self.dataset.X_train_confidence
        known = (users >= 0) & (users < train.shape[0]) & (items >= 0) & (items < train.shape[1])
        # Of no positions scipy returns a matrix.
        n_leaked = np.count_nonzero(train[users[known], items[known]]) if known.any() else 0
        if n_leaked:
            yield f"{n_leaked} {name} rows are in train"

    def _time_faults(self) -> Iterator[str]:
        (first_validation, last_validation), (first_test, _) = self.edges[VALIDATION], self.edges[TEST]
        # Rows split one by one may tie in time: that is the leak this unit is known for.
        tie = 0 if self.config.split_unit == "event" else 1
        for name, first, earlier_name, last in (
            (VALIDATION, first_validation, TRAIN, self.last_train),
            (TEST, first_test, TRAIN, self.last_train),
            (TEST, first_test, VALIDATION, last_validation),
        ):
            both = (first != _ALWAYS) & (last != _NEVER)
            if wrong := int((first[both] + tie <= last[both]).sum()):
                yield f"{wrong} users have {name} rows that are not later than their {earlier_name} rows"


def _same_entries(
    indptr: NDArray[np.integer], indices: IndexVector, entries: slice, rows: pl.DataFrame
) -> bool:
    """Return whether the rows are those entries of the matrix."""
    if entries.stop > len(indices):
        return False
    users = np.searchsorted(indptr, np.arange(entries.start, entries.stop), side="right") - 1
    return np.array_equal(users, rows["user_idx"].to_numpy()) and np.array_equal(
        indices[entries], rows["item_idx"].to_numpy()
    )


def _times(rows: pl.DataFrame, unknown: int) -> NDArray[np.int64]:
    return rows["timestamp"].dt.epoch("us").fill_null(unknown).to_numpy()
