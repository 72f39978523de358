"""Who can be trained on and what can be recommended: both filters together, to their fixed point."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.funnel import SAMPLE_ROWS, Funnel, sample_rows
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError
from recsys.rng import generator
from recsys.types import IndexVector

BoolVector = NDArray[np.bool_]


@dataclass(frozen=True)
class _Pairs:
    """Cleaned interactions as codes: contiguous numbers of users and items, in the order of their ids."""

    user: IndexVector
    item: IndexVector
    positive: BoolVector
    n_users: int
    n_items: int


@dataclass(frozen=True)
class Segmentation:
    """Who is trainable and what can be recommended, for all parts of the cleaned rows."""

    cold: BoolVector  # by user code: too few interactions or positives even with all items
    sampled_out: BoolVector  # by user code: passes, but not among the max_users drawn
    users: BoolVector  # by user code: trainable
    items: BoolVector  # by item code: kept
    item_ids: pl.Series  # by item code
    n_rows: int  # of trainable users on kept items

    def apply(self, parts: Iterable[pl.DataFrame], funnel: Funnel) -> Iterator[pl.DataFrame]:
        """Yield the parts with is_trainable_user, user_idx and item_idx (Int32, null when outside); count drops."""
        first_user = 0
        for part in parts:
            user = first_user + _user_codes(part)
            item = _item_codes(part, self.item_ids)
            first_user = int(user[-1]) + 1
            self._count_drops(part, user, item, funnel)
            yield part.with_columns(
                pl.Series("is_trainable_user", self.users[user]),
                _index_column("user_idx", self.users, user),
                _index_column("item_idx", self.items, item),
            )

    def _count_drops(self, part: pl.DataFrame, user: IndexVector, item: IndexVector, funnel: Funnel) -> None:
        in_users, in_items = self.users[user], self.items[item]
        cold, sampled = self.cold[user], self.sampled_out[user]
        for reason, dropped in (
            ("cold_start_user", cold),
            ("user_too_small_without_rare_items", ~in_users & ~cold & ~sampled),
            ("user_not_in_max_users", sampled),
            ("rare_item", in_users & ~in_items),
        ):
            places = np.flatnonzero(dropped)
            funnel.drop("segment", reason, len(places), sample_rows(part[places[:SAMPLE_ROWS]]))


def segment_interactions(
    cleaned: pl.DataFrame, config: DataConfig, funnel: Funnel, *, seed: int
) -> pl.DataFrame:
    """Return ``cleaned`` with is_trainable_user, user_idx and item_idx, see ``segment_parts``."""
    segmentation = segment_parts([cleaned], config, seed=seed)
    return next(segmentation.apply([cleaned], funnel))


def segment_parts(parts: Iterable[pl.DataFrame], config: DataConfig, *, seed: int) -> Segmentation:
    """Return who is trainable and what can be recommended.

    A trainable user has at least ``min_user_interactions`` rows, ``min_user_positives`` of them positive, on
    kept items; a kept item has at least ``min_item_positives`` positives from trainable users. The largest set
    that satisfies both is unique: removing what fails, in any order, ends there. Indices are contiguous and
    sorted by id. With ``max_users`` that many trainable users are drawn with the seed and the filters repeated.
    Needs about 9 bytes for each cleaned row, and as much again for a moment.

    Args:
        parts: tables with user_id, item_id and is_positive, one row per pair, sorted by user_id across all of
            them, each user in one part; iterated twice.

    Raises:
        EmptyDataError: nobody or nothing satisfies the filters; says which and what was seen.
    """
    item_ids, pairs = _codes_of(parts)
    every_item = np.ones(pairs.n_items, dtype=bool)
    warm = _users_that_pass(pairs, every_item, config)
    if not warm.any():
        raise EmptyDataError(_no_users_message(pairs, config))
    users, items = _fixed_point(pairs, warm, config)
    if not users.any() or not items.any():
        raise EmptyDataError(_no_items_message(pairs, warm, config))
    sampled_out = np.zeros(pairs.n_users, dtype=bool)
    if config.max_users is not None and int(users.sum()) > config.max_users:
        sample = sample_users(users, config.max_users, seed)
        sampled_out = users & ~sample
        users, items = _fixed_point(pairs, sample, config)
        if not users.any():
            raise EmptyDataError(
                _no_items_message(pairs, sample, config) + f" (max_users {config.max_users})"
            )
    n_rows = int((users[pairs.user] & items[pairs.item]).sum())
    return Segmentation(~warm, sampled_out, users, items, item_ids, n_rows)


def _codes_of(parts: Iterable[pl.DataFrame]) -> tuple[pl.Series, _Pairs]:
    items: list[pl.Series] = []
    n_rows = 0
    for part in parts:
        items.append(part["item_id"].unique())
        n_rows += part.height
    item_ids = pl.concat(items).unique().sort()
    user, item = np.empty(n_rows, dtype=np.int32), np.empty(n_rows, dtype=np.int32)
    positive = np.empty(n_rows, dtype=bool)
    first_user = start = 0
    for part in parts:
        rows = slice(start, start := start + part.height)
        user[rows] = first_user + _user_codes(part)
        item[rows] = _item_codes(part, item_ids)
        positive[rows] = part["is_positive"].to_numpy()
        first_user = int(user[start - 1]) + 1
    return item_ids, _Pairs(user, item, positive, first_user, len(item_ids))


def _user_codes(part: pl.DataFrame) -> IndexVector:
    """Return the number of each row's user within the part, which is sorted by user_id."""
    return part["user_id"].rle_id().to_numpy().astype(np.int32)


def _item_codes(part: pl.DataFrame, item_ids: pl.Series) -> IndexVector:
    return part["item_id"].cast(pl.Enum(item_ids)).to_physical().to_numpy().astype(np.int32)


def _users_that_pass(pairs: _Pairs, items: BoolVector, config: DataConfig) -> BoolVector:
    alive = items[pairs.item]
    interactions = np.bincount(pairs.user[alive], minlength=pairs.n_users)
    positives = np.bincount(pairs.user[alive & pairs.positive], minlength=pairs.n_users)
    return (interactions >= config.min_user_interactions) & (positives >= config.min_user_positives)


def _item_positives(pairs: _Pairs, users: BoolVector) -> NDArray[np.int64]:
    return np.bincount(pairs.item[users[pairs.user] & pairs.positive], minlength=pairs.n_items)


def _fixed_point(pairs: _Pairs, users: BoolVector, config: DataConfig) -> tuple[BoolVector, BoolVector]:
    """Return the largest (users, items) within ``users`` where each side satisfies its filter given the other."""
    while True:
        items = _item_positives(pairs, users) >= config.min_item_positives
        remaining = users & _users_that_pass(pairs, items, config)
        if np.array_equal(remaining, users):
            return users, items
        users = remaining


def sample_users(users: BoolVector, max_users: int, seed: int) -> BoolVector:
    """Return which of the users marked in ``users`` are drawn; the others' number and places change nothing."""
    chosen = generator(seed, "max_users").choice(np.flatnonzero(users), size=max_users, replace=False)
    sample = np.zeros_like(users)
    sample[chosen] = True
    return sample


def _index_column(name: str, kept: BoolVector, codes: IndexVector) -> pl.Series:
    index = np.cumsum(kept, dtype=np.int32) - 1
    frame = pl.DataFrame({name: index[codes].astype(np.int32), "kept": kept[codes]})
    return frame.select(pl.when("kept").then(name).alias(name)).to_series()


def _no_users_message(pairs: _Pairs, config: DataConfig) -> str:
    interactions = np.bincount(pairs.user, minlength=pairs.n_users)
    positives = np.bincount(pairs.user[pairs.positive], minlength=pairs.n_users)
    return no_users_message(config, pairs.n_users, interactions.max(), positives.max())


def _no_items_message(pairs: _Pairs, users: BoolVector, config: DataConfig) -> str:
    positives = _item_positives(pairs, users)
    n_enough = int((positives >= config.min_item_positives).sum())
    return no_items_message(config, pairs.n_items, n_enough, int(users.sum()), positives.max())


def no_users_message(config: DataConfig, n_users: int, most_rows: int, most_positives: int) -> str:
    """Return why nobody can be trained on: how many users there are, and the most that one of them has."""
    return (
        f"no trainable user: data.min_user_interactions {config.min_user_interactions} and min_user_positives "
        f"{config.min_user_positives} are met by none of {n_users} users (at most {most_rows} "
        f"interactions and {most_positives} positives at {config.positive_threshold:g} or more by one user)"
    )


def no_items_message(
    config: DataConfig, n_items: int, n_enough: int, n_users: int, most_positives: int
) -> str:
    """Return why nothing can be recommended: items, those with enough positives from the users, and the most."""
    return (
        f"the item filter leaves nothing: data.min_item_positives is {config.min_item_positives}, and of "
        f"{n_items} items {n_enough} have that many positives "
        f"from the {n_users} trainable users (at most {most_positives} on one item), too few "
        f"for any user to keep {config.min_user_interactions} interactions"
    )
