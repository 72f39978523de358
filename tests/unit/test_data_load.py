"""Damage in every form: what is stored is not what was written, or was never right."""

import io
import json
import logging

import numpy as np
import polars as pl
import pytest
from stored_versions import filled, forge, forge_array, forge_arrays, forge_frame, forge_matrix, key_of, read

from recsys.cf.data.load import load_processed_data
from recsys.cf.data.version import list_versions, verify_version
from recsys.errors import DataValidationError, DataVersionNotFound

FILES = (
    "X_train_confidence.npz", "X_train_binary.npz", "user_pos_train.npz", "user_hard_neg_train.npz",
    "interactions.parquet", "val_interactions.parquet", "test_interactions.parquet", "mappings.parquet",
    "item_popularity.npy", "item_train_counts.npy", "top_k_popular_items.json", "user_metadata.parquet",
    "items.parquet", "data_stats.json",
)  # fmt: skip


@pytest.fixture
def store(contents):
    return filled(contents)


def findings(store):
    with pytest.raises(DataValidationError) as caught:
        load_processed_data(store)
    assert caught.value.findings
    return " | ".join(caught.value.findings)


def test_a_whole_version_loads_frozen(store):
    dataset = load_processed_data(store)
    assert verify_version(store, "latest") == []
    for array in (dataset.X_train_confidence.data, dataset.user_pos_train.indices, dataset.item_popularity):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert [dataset.mappings.user_to_idx[user_id] for user_id in dataset.mappings.user_ids[:3]] == [0, 1, 2]


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_anywhere_is_found_by_load_and_verify(store, name):
    data = bytearray(read(store, name))
    data[len(data) // 2] ^= 1
    store.overwrite(key_of(store, name), bytes(data))
    with pytest.raises(DataValidationError, match=name):
        load_processed_data(store)
    assert verify_version(store, "latest") == [f"{name}: SHA-256 differs from the manifest"]


def test_all_damaged_files_are_named_at_once(store):
    store.delete(key_of(store, "items.parquet"))
    a, b = key_of(store, "val_interactions.parquet"), key_of(store, "test_interactions.parquet")
    first, second = store.get(a).data, store.get(b).data
    store.overwrite(a, second)
    store.overwrite(b, first)
    with pytest.raises(DataValidationError) as caught:
        load_processed_data(store)
    for part in ("items.parquet is missing", "val_interactions.parquet", "test_interactions.parquet"):
        assert part in str(caught.value)
    assert len(verify_version(store, "latest")) == 3


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"[1, 2]"]
)
def test_a_file_of_the_wrong_form_is_a_finding_even_when_its_hash_is_right(store, name, damage):
    forge(store, name, damage(read(store, name)))
    findings(store)


def test_pickled_arrays_are_refused(store):
    out = io.BytesIO()
    np.save(out, np.array([{}], dtype=object))
    forge(store, "item_popularity.npy", out.getvalue())
    assert "item_popularity.npy cannot be read" in findings(store)


def set_value(value):
    def change(matrix):
        matrix.data[0] = value

    return change


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "not finite"), (6.5, "outside [1, 6]"), (0.5, "outside [1, 6]")]
)
def test_confidence_must_be_finite_and_in_range(store, value, message):
    forge_matrix(store, "X_train_confidence.npz", set_value(value))
    assert message in findings(store)


def test_indices_must_be_in_range_and_sorted(store):
    def out_of_range(indices):
        return np.where(np.arange(len(indices)) == 0, 10_000, indices).astype(np.int32)

    forge_arrays(store, "user_pos_train.npz", indices=out_of_range)
    forge_arrays(store, "user_hard_neg_train.npz", implicit_indices=lambda indices: indices[::-1].copy())
    told = findings(store)
    assert "user_pos_train has item_idx outside" in told
    assert "implicit has indices that are not sorted and unique" in told


@pytest.mark.parametrize(
    ("name", "array", "change", "message"),
    [
        ("user_pos_train.npz", "indptr", lambda x: x[:-1], "broken indptr"),
        ("user_pos_train.npz", "indptr", lambda x: x.astype(np.int32), "must be int64"),
        ("X_train_confidence.npz", "indptr", lambda x: x[:-1], "X_train_confidence"),
        ("X_train_confidence.npz", "shape", lambda x: x + np.array([1, 0]), "X_train_confidence"),
        ("X_train_confidence.npz", "data", lambda x: x.astype(np.float64), "not float32"),
        ("X_train_confidence.npz", "data", lambda x: x[:-1], "X_train_confidence"),
        ("X_train_binary.npz", "data", lambda x: x * 2, "values other than 1"),
        ("user_hard_neg_train.npz", "explicit_indptr", lambda x: x * 0, "explicit has a broken indptr"),
    ],
)
def test_arrays_must_have_their_form(store, name, array, change, message):
    forge_arrays(store, name, **{array: change})
    assert message in findings(store)


def test_positives_must_be_the_train_positives(store):
    def drop_last(matrix):
        matrix.indptr[-1] -= 1
        matrix.indices, matrix.data = matrix.indices[:-1], matrix.data[:-1]

    forge_matrix(store, "X_train_binary.npz", drop_last)
    assert "user_pos_train differs from X_train_binary" in findings(store)


def test_hard_negatives_must_follow_from_train(store):
    def other_pool(document):
        return json.dumps([*document[1:], next(i for i in range(1000) if i not in document)]).encode()

    forge(store, "top_k_popular_items.json", other_pool(json.loads(read(store, "top_k_popular_items.json"))))
    assert "implicit hard negatives are not" in findings(store)


def test_popularity_must_be_that_of_train(store):
    forge_array(store, "item_popularity.npy", lambda x: x + 1)
    forge_array(store, "item_train_counts.npy", lambda x: x + 1)
    told = findings(store)
    assert "item_popularity is not" in told
    assert "item_train_counts differ" in told


def swap_first_ids(frame):
    ids = frame["id"].to_list()
    ids[0], ids[1] = ids[1], ids[0]
    return frame.with_columns(pl.Series("id", ids))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_first_ids, "user_id are not sorted and unique"),
        (lambda frame: frame.with_columns(pl.col("idx") + 1), "idx are not 0, 1, 2"),
        (lambda frame: frame.drop("kind"), "lacks columns of the right type: kind"),
        (lambda frame: frame.with_columns(pl.col("id") + "x"), "do not agree with mappings"),
    ],
)
def test_ids_must_round_trip(store, change, message):
    forge_frame(store, "mappings.parquet", change)
    assert message in findings(store)


def test_a_test_row_in_train_is_found(store):
    def leak(frame):
        row = pl.int_range(pl.len())
        train_row = frame.select(
            row.filter((pl.col("split") == "train") & pl.col("is_positive")).first()
        ).item()
        return frame.with_columns(
            pl.when(row == train_row).then(pl.lit("test")).otherwise("split").alias("split")
        )

    # The row is a test row now, while the matrices still train on it.
    forge_frame(store, "interactions.parquet", leak)
    interactions = pl.read_parquet(io.BytesIO(read(store, "interactions.parquet")))
    forge_frame(store, "test_interactions.parquet", lambda _: interactions.filter(pl.col("split") == "test"))
    told = findings(store)
    assert "X_train_confidence differs from the train rows" in told


def test_a_pair_that_is_in_train_and_in_test_is_found(store):
    train = pl.read_parquet(io.BytesIO(read(store, "interactions.parquet"))).filter(
        (pl.col("split") == "train") & pl.col("is_positive")
    )
    copied = train.head(1).with_columns(pl.lit("test").alias("split"))
    forge_frame(store, "interactions.parquet", lambda frame: pl.concat([frame, copied]))
    forge_frame(store, "test_interactions.parquet", lambda frame: pl.concat([frame, copied]))
    told = findings(store)
    assert "1 test rows are in train" in told
    assert "(user_id, item_id) twice" in told


def test_held_out_rows_must_be_positive_and_later(store):
    def spoil(frame):
        test = pl.col("split") == "test"
        return frame.with_columns(
            pl.when(test).then(pl.lit(False)).otherwise("is_positive").alias("is_positive"),
            pl.when(test)
            .then(pl.col("timestamp") - pl.duration(days=3_000))
            .otherwise("timestamp")
            .alias("timestamp"),
        )

    for name in ("interactions.parquet", "test_interactions.parquet"):
        forge_frame(store, name, spoil)
    told = findings(store)
    assert "test has rows that are not positives" in told
    assert "not later than their train rows" in told
    assert "not later than their validation rows" in told


def test_held_out_files_must_be_the_rows_of_the_interactions(store):
    forge_frame(store, "val_interactions.parquet", lambda frame: frame.head(1))
    assert "the validation file differs" in findings(store)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema_version=99), "newer than this code"),
        (lambda m: m.update(version="v_20200101T000000Z_000000000000"), "belongs to version"),
        (lambda m: m["files"].pop("items.parquet"), "lacks items.parquet"),
        (lambda m: m["files"].update({"../x": {"sha256": "", "bytes": 0}}), "names '../x'"),
        (lambda m: m.pop("files"), "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(store, change, message, caplog):
    key = key_of(store, "manifest.json")
    manifest = json.loads(store.get(key).data)
    change(manifest)
    store.overwrite(key, json.dumps(manifest).encode())
    assert message in findings(store)
    assert message in verify_version(store, "latest")[0]
    with caplog.at_level(logging.WARNING):
        assert list_versions(store) == []
    assert message in caplog.text


def test_settings_that_cannot_be_right_are_a_finding(store):
    key = key_of(store, "manifest.json")
    manifest = json.loads(store.get(key).data)
    manifest["settings"]["rating_min"] = "low"
    store.overwrite(key, json.dumps(manifest).encode())
    assert "settings cannot be understood" in findings(store)


def test_a_version_without_manifest_does_not_exist(store):
    version = list_versions(store)[0].version
    store.delete(key_of(store, "manifest.json"))
    assert list_versions(store) == []
    for name in ("latest", version, version[-12:]):
        with pytest.raises(DataVersionNotFound):
            load_processed_data(store, name)


def test_strangers_under_the_prefix_are_told(store):
    store.put_new(key_of(store, "stranger.txt"), b"")
    assert verify_version(store, "latest") == ["stranger.txt is not in the manifest"]


def test_the_cache_is_filled_once_and_repaired(store, tmp_path):
    load_processed_data(store, cache_dir=tmp_path)
    store.calls.clear()
    load_processed_data(store, cache_dir=tmp_path)
    assert [key for operation, key in store.calls if operation == "get_file"] == []
    cached = tmp_path / list_versions(store)[0].version / "items.parquet"
    cached.write_bytes(b"damaged")
    load_processed_data(store, cache_dir=tmp_path)
    assert cached.read_bytes() == read(store, "items.parquet")
    assert [path.name for path in cached.parent.iterdir() if path.name.startswith(".")] == []
