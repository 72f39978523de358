"""Items made unseen on purpose: what a model offers of an item that nobody has bought yet, measured."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.cf.data.dataset import HardNegatives, InteractionDataset, UserItemSets
from recsys.cf.data.split import TEST, TRAIN, VALIDATION
from recsys.errors import EmptyDataError
from recsys.rng import generator

# Columns of interactions.parquet that ``hide_items`` reads.
COLUMNS = ("user_idx", "item_idx", "timestamp", "split")
_NO_PAIRS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class HiddenItems:
    """A dataset without any train interaction of some items, and the pairs that were taken away."""

    data: InteractionDataset  # same users and items; hidden items have no train and no validation row
    hidden: NDArray[np.bool_]  # (n_items,)
    held_out: UserItemSets  # positives on hidden items, of users who keep a train positive
    seen: UserItemSets  # what is masked when they are asked: all they touched in train, hidden items excepted


def hide_items(
    data: InteractionDataset,
    interactions: pl.DataFrame,
    candidates: NDArray[np.bool_],
    share: float,
    seed: int,
) -> HiddenItems:
    """Return the data as if nobody had bought a random share of the candidate items yet.

    Args:
        data: Any data version.
        interactions: Its rows with ``COLUMNS``. Train rows of the same user and time as a row of a hidden item
            go with it: shops show one review under every variant of a product, and the variants that stay would
            give the hidden one away.
        candidates: (n_items,), items that may be hidden, such as those with an embedding.
        share: Of the candidates that have a train positive, 0 to 1; at least one is hidden.
        seed: Draws them.

    Returns:
        Every positive of a hidden item, whichever split it was in, is held out, for users who still have a train
        positive; hidden items are nobody's hard negatives. The indices of users and items are those of ``data``.

    Raises:
        EmptyDataError: No candidate has a train positive, or nobody who bought one bought anything else.
    """
    positives = _positive_pairs(data)
    bought = np.bincount(data.user_pos_train.indices, minlength=data.n_items) > 0
    drawable = np.flatnonzero(candidates & bought)
    if not len(drawable):
        raise EmptyDataError("no item has both an embedding and a train positive, so none can be hidden")
    n_hidden = max(1, round(share * len(drawable)))
    hidden = np.zeros(data.n_items, dtype=np.bool_)
    hidden[generator(seed, "hidden items").choice(drawable, n_hidden, replace=False)] = True
    dropped = _same_event(interactions, hidden, data.n_items)
    confidence, binary = (
        _emptied(one, hidden, dropped) for one in (data.X_train_confidence, data.X_train_binary)
    )
    counts = np.bincount(confidence.indices, minlength=data.n_items).astype(np.int64)
    kept = replace(
        data,
        X_train_confidence=confidence,
        X_train_binary=binary,
        user_pos_train=_sets_of(binary),
        user_hard_neg_train=HardNegatives(
            _without(data.user_hard_neg_train.explicit, hidden, dropped),
            _without(data.user_hard_neg_train.implicit, hidden),
        ),
        val_interactions=_rows_of(data.val_interactions, ~hidden),
        test_interactions=_rows_of(data.test_interactions, ~hidden),
        item_train_counts=counts,
        item_popularity=np.log1p(counts).astype(np.float32),
    )
    asked = kept.user_pos_train.counts() > 0
    held_out = _without(_of_users(positives, asked), ~hidden)
    if not held_out.indices.size:
        raise EmptyDataError("nobody who bought a hidden item bought any other, so there is nobody to ask")
    return HiddenItems(kept, hidden, held_out, _without(data.user_seen_train, hidden))


def _positive_pairs(data: InteractionDataset) -> UserItemSets:
    """Return the positives of all splits, sorted item_idx per user."""
    users = [np.repeat(np.arange(data.n_users), data.user_pos_train.counts())]
    items = [data.user_pos_train.indices]
    for frame in (data.val_interactions, data.test_interactions):
        users.append(frame["user_idx"].to_numpy())
        items.append(frame["item_idx"].to_numpy())
    pairs = np.unique(np.concatenate(users).astype(np.int64) * data.n_items + np.concatenate(items))
    counts = np.bincount(pairs // data.n_items, minlength=data.n_users)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return UserItemSets(indptr, (pairs % data.n_items).astype(np.int32))


def _same_event(interactions: pl.DataFrame, hidden: NDArray[np.bool_], n_items: int) -> NDArray[np.int64]:
    """Return user_idx * n_items + item_idx of every pair that shares user and time with one of a hidden item."""
    rows = interactions.filter(
        pl.col("split").is_in([TRAIN, VALIDATION, TEST])
        & pl.col("user_idx").is_not_null()
        & pl.col("item_idx").is_not_null()
    )
    of_hidden = rows.filter(pl.Series(hidden[rows["item_idx"].to_numpy()]))
    events = of_hidden.select("user_idx", "timestamp").unique()
    pairs = rows.join(events, on=["user_idx", "timestamp"], how="semi")
    return np.unique(pairs["user_idx"].to_numpy().astype(np.int64) * n_items + pairs["item_idx"].to_numpy())


def _keep(
    owner: NDArray[np.int64],
    indices: NDArray[np.integer],
    hidden: NDArray[np.bool_],
    dropped: NDArray[np.int64],
) -> NDArray[np.bool_]:
    keep: NDArray[np.bool_] = ~hidden[indices] & ~np.isin(owner * len(hidden) + indices, dropped)
    return keep


def _without(
    sets: UserItemSets, items: NDArray[np.bool_], dropped: NDArray[np.int64] = _NO_PAIRS
) -> UserItemSets:
    """Return the sets without the marked items and the dropped pairs."""
    keep = _keep(np.repeat(np.arange(len(sets)), sets.counts()), sets.indices, items, dropped)
    return UserItemSets(np.concatenate([[0], np.cumsum(keep)])[sets.indptr], sets.indices[keep])


def _sets_of(matrix: csr_matrix) -> UserItemSets:
    return UserItemSets(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32))


def _of_users(sets: UserItemSets, users: NDArray[np.bool_]) -> UserItemSets:
    """Return the sets, empty for all users but the marked ones."""
    keep = np.repeat(users, sets.counts())
    return UserItemSets(np.concatenate([[0], np.cumsum(keep)])[sets.indptr], sets.indices[keep])


def _emptied(matrix: csr_matrix, items: NDArray[np.bool_], dropped: NDArray[np.int64]) -> csr_matrix:
    """Return a copy of the matrix without the entries of the marked columns and the dropped pairs."""
    owner = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    keep = _keep(owner, matrix.indices, items, dropped)
    indptr = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr].astype(matrix.indptr.dtype)
    kept = csr_matrix((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)
    kept.sort_indices()
    return kept


def _rows_of(frame: pl.DataFrame, items: NDArray[np.bool_]) -> pl.DataFrame:
    return frame.filter(pl.Series(items[frame["item_idx"].to_numpy()]))
