"""Rows of a data version with users by number: the same answers as with their ids, in less memory."""

import polars as pl
import pytest
from stored_versions import filled

from recsys.cf.data.load import load_processed_data
from recsys.cf.data.version import list_versions
from recsys.cf.evaluation.baselines import popularity_scorer, recent_popularity_scorer
from recsys.cf.evaluation.cold_start import COLUMNS, cold_users
from recsys.errors import DataValidationError
from recsys.pipeline.cleaned_rows import load_cleaned_rows, load_numbered_rows


@pytest.fixture(params=[7, 1_000_000])
def rows(request, monkeypatch, contents):
    monkeypatch.setattr("recsys.cf.data.files._BATCH_ROWS", request.param)
    monkeypatch.delenv("RECSYS_STATE", raising=False)
    store = filled(contents)
    version = list_versions(store)[0].version
    return store, load_cleaned_rows(store, version, COLUMNS), load_numbered_rows(store, version, COLUMNS)


def test_numbers_stand_for_ids_one_to_one_in_their_order(rows):
    _, by_id, by_number = rows
    assert by_number["user_id"].dtype == pl.UInt32
    assert by_number["user_id"].equals(
        (by_id["user_id"].rank("dense") - 1).cast(pl.UInt32), check_names=False
    )
    assert by_number["split"].cast(pl.String).equals(by_id["split"])
    rest = [name for name in COLUMNS if name not in ("user_id", "split")]
    assert by_number.select(rest).equals(by_id.select(rest))


def test_what_is_measured_of_them_is_the_same_to_the_last_bit(rows):
    store, by_id, by_number = rows
    data = load_processed_data(store)
    popularity = popularity_scorer(data, "train_counts")
    found = [
        cold_users(
            one, data.held_out("test"), data.user_seen_train, popularity, None, k_values=[10], block_users=128
        )
        for one in (by_id, by_number)
    ]
    assert found[0] == found[1]
    assert found[0]["no_history"]["users"] > 0
    assert found[0]["one_event"]["users"] > 0
    recent = [
        recent_popularity_scorer(one, data.n_items, 30).item_scores.tolist() for one in (by_id, by_number)
    ]
    assert recent[0] == recent[1]


def test_a_damaged_file_is_told(contents):
    store = filled(contents)
    version = list_versions(store)[0].version
    key = f"data/versions/{version}/interactions.parquet"
    store.overwrite(key, store.get(key).data[:-1] + b"x")
    with pytest.raises(DataValidationError, match=r"interactions.parquet: SHA-256 differs"):
        load_numbered_rows(store, version, COLUMNS)
