"""Who can be trained on and what can be recommended: both filters together, to their fixed point."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.cf.data.funnel import Funnel
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError
from recsys.rng import generator

BoolVector = NDArray[np.bool_]


@dataclass(frozen=True)
class _Pairs:
    """Cleaned interactions as codes: contiguous numbers of users and items, sorted by id."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    positive: BoolVector
    n_users: int
    n_items: int


def segment_interactions(
    cleaned: pl.DataFrame, config: DataConfig, funnel: Funnel, *, seed: int
) -> pl.DataFrame:
    """Return ``cleaned`` with is_trainable_user, user_idx and item_idx (Int32, null when outside).

    A trainable user has at least ``min_user_interactions`` rows, ``min_user_positives`` of them positive, on
    kept items; a kept item has at least ``min_item_positives`` positives from trainable users. The largest set
    that satisfies both is unique: removing what fails, in any order, ends there. Indices are contiguous and
    sorted by id. With ``max_users`` that many trainable users are drawn with the seed and the filters repeated.

    Args:
        cleaned: needs user_id, item_id, is_positive; one row per pair.

    Raises:
        EmptyDataError: nobody or nothing satisfies the filters; says which and what was seen.
    """
    user_ids, item_ids = cleaned["user_id"].unique().sort(), cleaned["item_id"].unique().sort()
    pairs = _Pairs(
        _codes(cleaned["user_id"], user_ids),
        _codes(cleaned["item_id"], item_ids),
        cleaned["is_positive"].to_numpy(),
        user_ids.len(),
        item_ids.len(),
    )
    every_item = np.ones(pairs.n_items, dtype=bool)
    warm = _users_that_pass(pairs, every_item, config)
    if not warm.any():
        raise EmptyDataError(_no_users_message(pairs, config))
    users, items = _fixed_point(pairs, warm, config)
    if not users.any() or not items.any():
        raise EmptyDataError(_no_items_message(pairs, warm, config))
    sampled_out = np.zeros(pairs.n_users, dtype=bool)
    if config.max_users is not None and int(users.sum()) > config.max_users:
        sample = _sample(users, config.max_users, seed)
        sampled_out = users & ~sample
        users, items = _fixed_point(pairs, sample, config)
        if not users.any():
            raise EmptyDataError(
                _no_items_message(pairs, sample, config) + f" (max_users {config.max_users})"
            )
    _count_drops(pairs, warm, users, items, sampled_out, funnel)
    return cleaned.with_columns(
        pl.Series("is_trainable_user", users[pairs.user]),
        _index_column("user_idx", users, pairs.user),
        _index_column("item_idx", items, pairs.item),
    )


def _codes(ids: pl.Series, sorted_unique: pl.Series) -> NDArray[np.int64]:
    return ids.cast(pl.Enum(sorted_unique)).to_physical().to_numpy().astype(np.int64)


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


def _sample(users: BoolVector, max_users: int, seed: int) -> BoolVector:
    chosen = generator(seed, "max_users").choice(np.flatnonzero(users), size=max_users, replace=False)
    sample = np.zeros_like(users)
    sample[chosen] = True
    return sample


def _count_drops(
    pairs: _Pairs,
    warm: BoolVector,
    users: BoolVector,
    items: BoolVector,
    sampled_out: BoolVector,
    funnel: Funnel,
) -> None:
    in_users, in_items = users[pairs.user], items[pairs.item]
    cold, sampled = ~warm[pairs.user], sampled_out[pairs.user]
    funnel.drop("segment", "cold_start_user", cold.sum())
    funnel.drop("segment", "user_too_small_without_rare_items", (~in_users & ~cold & ~sampled).sum())
    funnel.drop("segment", "user_not_in_max_users", sampled.sum())
    funnel.drop("segment", "rare_item", (in_users & ~in_items).sum())


def _index_column(name: str, kept: BoolVector, codes: NDArray[np.int64]) -> pl.Series:
    index = np.cumsum(kept, dtype=np.int32) - 1
    frame = pl.DataFrame({name: index[codes].astype(np.int32), "kept": kept[codes]})
    return frame.select(pl.when("kept").then(name).alias(name)).to_series()


def _no_users_message(pairs: _Pairs, config: DataConfig) -> str:
    interactions = np.bincount(pairs.user, minlength=pairs.n_users)
    positives = np.bincount(pairs.user[pairs.positive], minlength=pairs.n_users)
    return (
        f"no trainable user: data.min_user_interactions {config.min_user_interactions} and min_user_positives "
        f"{config.min_user_positives} are met by none of {pairs.n_users} users (at most {interactions.max()} "
        f"interactions and {positives.max()} positives at {config.positive_threshold:g} or more by one user)"
    )


def _no_items_message(pairs: _Pairs, users: BoolVector, config: DataConfig) -> str:
    positives = _item_positives(pairs, users)
    return (
        f"the item filter leaves nothing: data.min_item_positives is {config.min_item_positives}, and of "
        f"{pairs.n_items} items {int((positives >= config.min_item_positives).sum())} have that many positives "
        f"from the {int(users.sum())} trainable users (at most {positives.max()} on one item), too few "
        f"for any user to keep {config.min_user_interactions} interactions"
    )
