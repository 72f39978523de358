"""Items hidden from train: nothing of them is left, and all their buyers are asked."""

import numpy as np
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.evaluation.cold_start import cold_items, hits_per_user
from recsys.cf.evaluation.evaluate import evaluate
from recsys.cf.evaluation.unseen_items import COLUMNS, hide_items
from recsys.cf.scoring.blocks import RandomScorer
from recsys.config.schema import DataConfig
from recsys.errors import EmptyDataError
from recsys.pipeline.cleaned_rows import load_cleaned_rows
from recsys.storage.local import LocalStore


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    place = tmp_path_factory.mktemp("shop")
    write_demo_shop(place / "raw", size="small", seed=5)
    store = LocalStore(place / "store")
    prepare(store, place / "raw" / "reviews.csv", place / "raw" / "products.csv", DataConfig(), seed=1)
    data = load_processed_data(store)
    return data, load_cleaned_rows(store, data.version, COLUMNS)


@pytest.fixture
def data(shop):
    return shop[0]


def positives(data):
    """Return every positive pair of any split."""
    found = {(u, i) for u in range(data.n_users) for i in data.user_pos_train[u]}
    for frame in (data.val_interactions, data.test_interactions):
        found |= set(frame.select("user_idx", "item_idx").iter_rows())
    return found


def test_nothing_of_a_hidden_item_is_left_and_its_buyers_are_asked(shop):
    data, rows = shop
    candidates = np.arange(data.n_items) % 2 == 0
    found = hide_items(data, rows, candidates, 0.3, seed=1)
    kept, hidden = found.data, found.hidden
    assert not hidden[~candidates].any()
    assert 0 < hidden.sum() <= round(0.3 * candidates.sum())
    events = {
        (user, time)
        for user, item, time, split in rows.iter_rows()
        if split in ("train", "validation", "test") and hidden[item]
    }
    gone = {
        (user, item)
        for user, item, time, split in rows.iter_rows()
        if split == "train" and ((user, time) in events or hidden[item])
    }
    assert any(not hidden[item] for _, item in gone)  # the rest of an event goes with the hidden item
    for before, after in (
        (data.X_train_confidence, kept.X_train_confidence),
        (data.X_train_binary, kept.X_train_binary),
    ):
        left = {pair: value for pair, value in entries(before).items() if pair not in gone}
        assert entries(after) == left
    train = set(entries(kept.X_train_binary))
    assert {(u, i) for u in range(data.n_users) for i in kept.user_pos_train[u]} == train
    counts = np.bincount([item for _, item in entries(kept.X_train_confidence)], minlength=data.n_items)
    assert np.array_equal(kept.item_train_counts, counts)
    for sets in (kept.user_hard_neg_train.explicit, kept.user_hard_neg_train.implicit):
        assert not hidden[sets.indices].any()
    seen = set(entries(kept.X_train_confidence))
    assert {(u, i) for u in range(data.n_users) for i in kept.user_hard_neg_train.explicit[u]} <= seen
    assert not hidden[kept.val_interactions["item_idx"].to_numpy()].any()
    buyers = {user for user, _ in train}
    wanted = {(u, i) for u, i in positives(data) if hidden[i] and u in buyers}
    assert {(u, i) for u in range(len(found.held_out)) for i in found.held_out[u]} == wanted
    masked = {(u, i) for u in range(data.n_users) for i in data.user_seen_train[u] if not hidden[i]}
    assert {(u, i) for u in range(data.n_users) for i in found.seen[u]} == masked


def entries(matrix):
    """Return {(row, column): value} of a sparse matrix."""
    table = matrix.tocoo()
    return dict(
        zip(zip(table.row.tolist(), table.col.tolist(), strict=True), table.data.tolist(), strict=True)
    )


def test_the_seed_draws_the_items(shop):
    data, rows = shop
    everything = np.ones(data.n_items, dtype=bool)
    first, again, other = (hide_items(data, rows, everything, 0.2, seed=s).hidden for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_candidate_is_said(shop):
    data, rows = shop
    with pytest.raises(EmptyDataError, match="embedding"):
        hide_items(data, rows, np.zeros(data.n_items, dtype=bool), 0.2, seed=1)


def test_the_mean_of_hits_per_user_is_the_recall_of_pairs(data):
    cold = data.item_train_counts < 5
    scorer = RandomScorer(data.n_items, 3)
    evaluation = evaluate(
        {"x": scorer}, data.held_out("test"), data.user_seen_train, k_values=[10, 50], block_users=256
    )["x"]
    found = cold_items(evaluation, evaluation, data.item_train_counts, [10, 50])
    assert found["pairs"] > 0
    for k in (10, 50):
        values = hits_per_user(evaluation, cold, k)
        assert len(values) == found["users"]
        assert values.mean() == pytest.approx(found[f"recall@{k}"])
    assert not len(hits_per_user(evaluation, np.zeros_like(cold), 10))
