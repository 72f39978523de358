"""Ids in a column: a sequence of strings as any other, and where each stands among others."""

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.dataset import IdMappings, Ids, InteractionDataset, UserItemSets, id_column, positions
from recsys.cf.evaluation.champion import align_rows
from recsys.cf.models import als_confidence
from recsys.pipeline.contender import _leaked_pairs

NAMES = ("an", "bé", "\uffff", "\U0001f600")


def test_they_are_a_sequence_of_strings():
    ids = Ids(pl.Series(NAMES))
    assert (len(ids), tuple(ids), ids[1], ids[np.int32(2)], ids[-1]) == (4, NAMES, "bé", "\uffff", NAMES[3])
    assert ids[1:3] == NAMES[1:3]
    assert ids == NAMES
    assert ids == Ids(pl.Series(NAMES))
    assert ids != Ids(pl.Series(NAMES[:2]))
    assert "bé" in ids
    assert IdMappings(ids, ["i"]).user_to_idx == {name: idx for idx, name in enumerate(NAMES)}
    with pytest.raises(IndexError):
        ids[4]


def test_a_column_is_not_copied_and_other_sequences_become_one():
    column = pl.Series(NAMES)
    assert id_column(Ids(column)) is column
    assert id_column(NAMES).equals(column)
    assert id_column([]).dtype == pl.String


def test_positions_are_those_of_a_dictionary():
    random = np.random.default_rng(0)
    given = [f"u{number}" for number in random.choice(500, 200, replace=False)]
    wanted = [f"u{number}" for number in random.integers(0, 500, 300)]
    place = {name: at for at, name in enumerate(given)}
    assert positions(given, wanted).tolist() == [place.get(name, -1) for name in wanted]
    assert positions(Ids(pl.Series(given)), wanted).dtype == np.int64
    assert positions([], wanted).tolist() == [-1] * 300


def test_rows_follow_their_ids_in_blocks(monkeypatch):
    monkeypatch.setattr("recsys.cf.evaluation.champion._BLOCK_ROWS", 3)
    matrix = np.arange(14, dtype=np.float32).reshape(7, 2)
    rows, known = align_rows(matrix, list("abcdefg"), list("gxbyaczd"))
    assert known.tolist() == [True, False, True, False, True, True, False, True]
    assert rows.tolist() == [[12, 13], [0, 0], [2, 3], [0, 0], [0, 1], [4, 5], [0, 0], [6, 7]]


@pytest.mark.parametrize("entries", [1, 7, 1 << 20])
def test_test_pairs_of_a_models_training_are_found_in_blocks(monkeypatch, entries):
    random = np.random.default_rng(entries)
    n_users, n_items = 40, 25
    trained = random.random((n_users, n_items)) < 0.3
    counts = np.concatenate([[0], np.cumsum(trained.sum(axis=1))]).astype(np.int64)
    sets = UserItemSets(counts, np.nonzero(trained)[1].astype(np.int32))
    theirs = IdMappings([f"u{n}" for n in range(n_users)], [f"i{n}" for n in range(n_items)])
    ours = IdMappings([f"u{n}" for n in range(20, 60)], [f"i{n}" for n in range(10, 40)])
    user, item = random.integers(0, 40, 200), random.integers(0, 30, 200)
    test = pl.DataFrame({"user_idx": user, "item_idx": item}).unique()
    data = InteractionDataset.__new__(InteractionDataset)
    object.__setattr__(data, "mappings", ours)
    object.__setattr__(data, "test_interactions", test)
    blocks = als_confidence.row_blocks
    monkeypatch.setattr("recsys.pipeline.contender.row_blocks", lambda indptr: blocks(indptr, entries))
    expected = [
        u + 20 < n_users and i + 10 < n_items and bool(trained[u + 20, i + 10]) for u, i in test.iter_rows()
    ]
    assert _leaked_pairs(sets, theirs, data).tolist() == expected
    assert sum(expected) > 5
