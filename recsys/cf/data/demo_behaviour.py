"""Who buys what and when in the synthetic shop: hidden tastes, skewed popularity, events of one or more items."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]

# Weight of an item by popularity rank r of n: exp(-DECAY (r / n)^BEND): mean 6.6 times the median, as in the shop.
_DECAY = 7.2
_BEND = 0.65
_SPAN_SECONDS = 730 * 86_400


@dataclass(frozen=True)
class ShopShape:
    """How large a shop is and how its rows spread over users."""

    users: int
    trainable_users: int  # with two or more interactions, one of them positive
    items: int
    raw_rows: int
    unique_rows: int  # distinct (user, item)
    trainable_rows: int  # of them by trainable users
    dirty_rows: int  # without user, item, rating or time, or with an impossible rating
    tastes: int
    min_rows: int  # of a trainable user
    max_rows: int
    spread: float  # log-normal sigma of how unevenly rows spread over trainable users
    floor: float  # least weight of an item, as a share of the mean weight
    pull: float  # odds that a user draws within the own taste rather than by popularity alone


@dataclass(frozen=True)
class Catalogue:
    """Items by popularity: ``weight`` sums to 1, ``taste`` is the one that prefers the item."""

    weight: NDArray[np.float64]
    taste: IndexArray


def draw_catalogue(shape: ShopShape, rng: np.random.Generator) -> Catalogue:
    """Return weights and tastes of the items, in random order of popularity."""
    rank = rng.permutation(shape.items)
    weight = np.exp(-_DECAY * (rank / shape.items) ** _BEND)
    weight = np.maximum(weight, shape.floor * weight.mean())
    # Neighbours in popularity go to different tastes, so that every taste has hits and shelf-warmers.
    n_blocks = -(-shape.items // shape.tastes)
    blocks = [rng.permutation(shape.tastes) for _ in range(n_blocks)]
    return Catalogue(weight / weight.sum(), np.concatenate(blocks)[rank].astype(np.int64))


def draw_row_counts(shape: ShopShape, rng: np.random.Generator) -> tuple[IndexArray, IndexArray]:
    """Return rows per trainable user and rows per other user; their sums are as the shape says."""
    weights = rng.lognormal(0.0, shape.spread, shape.trainable_users)
    counts = np.full(shape.trainable_users, shape.min_rows, dtype=np.int64)
    left = shape.trainable_rows - counts.sum()
    while left > 0:
        open_weights = np.where(counts < shape.max_rows, weights, 0.0)
        counts += rng.multinomial(left, open_weights / open_weights.sum())
        counts = np.minimum(counts, shape.max_rows)
        left = shape.trainable_rows - counts.sum()
    n_others = shape.users - shape.trainable_users
    others = np.ones(n_others, dtype=np.int64)
    others[: shape.unique_rows - shape.trainable_rows - n_others] += 1
    return counts, others


def draw_items(
    user: IndexArray, catalogue: Catalogue, shape: ShopShape, rng: np.random.Generator
) -> IndexArray:
    """Return an item for every row, none twice for one user.

    A user has one taste and draws within it at odds of pull to 1, else among all items, always by weight.
    Repeated items are drawn again, until none is left.
    """
    taste_of_user = rng.integers(shape.tastes, size=shape.users)
    own = catalogue.taste == np.arange(shape.tastes)[:, None]
    likelihood = catalogue.weight * (1.0 + shape.pull * shape.tastes * own)
    cumulative = np.cumsum(likelihood, axis=1) / likelihood.sum(axis=1, keepdims=True)
    cumulative[:, -1] = 1.0
    # One sorted array for all tastes: taste t occupies (t, t + 1].
    ladder = (cumulative + np.arange(shape.tastes)[:, None]).ravel()
    item = np.empty(len(user), dtype=np.int64)
    open_rows = np.arange(len(user))
    while len(open_rows):
        tastes = taste_of_user[user[open_rows]]
        place = np.searchsorted(ladder, tastes + rng.random(len(open_rows)), side="right")
        item[open_rows] = np.minimum(place - tastes * shape.items, shape.items - 1)
        open_rows = _repeated(user * shape.items + item)
    return item


def draw_times(user: IndexArray, same_event: NDArray[np.bool_], rng: np.random.Generator) -> IndexArray:
    """Return seconds since the shop opened for rows sorted by user.

    ``same_event`` tells for every row whether it belongs to the event of the row before it. Events of a user have
    distinct times, one after the other, over two years.
    """
    new_user = np.concatenate([[True], user[1:] != user[:-1]])
    event = np.cumsum(new_user | ~same_event) - 1
    user_of_event = user[new_user | ~same_event]
    seconds = rng.integers(_SPAN_SECONDS, size=len(user_of_event))
    ordered = seconds[np.lexsort((seconds, user_of_event))]
    # Two events of a user could fall on one second: the n-th event moves n seconds.
    first = np.flatnonzero(np.concatenate([[True], user_of_event[1:] != user_of_event[:-1]]))
    position = np.arange(len(ordered)) - np.repeat(first, np.diff(np.append(first, len(ordered))))
    times: IndexArray = (ordered + position)[event]
    return times


def _repeated(pairs: IndexArray) -> IndexArray:
    """Return the rows whose pair occurred in an earlier row."""
    _, first = np.unique(pairs, return_index=True)
    repeated = np.ones(len(pairs), dtype=bool)
    repeated[first] = False
    return np.flatnonzero(repeated)
