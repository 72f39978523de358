import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data, load_product_embeddings
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import list_versions, resolve_version, verify_version
from recsys.config.schema import DataConfig
from recsys.errors import (
    DataVersionNotFound,
    ObjectExists,
    OutcomeUnknown,
    StoreUnavailable,
)
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore

CONFIG = DataConfig()
TABLE = {
    "X_train_confidence.npz", "X_train_binary.npz", "user_pos_train.npz", "user_hard_neg_train.npz",
    "interactions.parquet", "val_interactions.parquet", "test_interactions.parquet", "mappings.parquet",
    "item_popularity.npy", "item_train_counts.npy", "top_k_popular_items.json", "user_metadata.parquet",
    "items.parquet", "data_stats.json", "manifest.json",
}  # fmt: skip


def small_shop(directory):
    return write_demo_shop(directory, size="small", seed=1, users=400, interactions=2_500)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return small_shop(tmp_path_factory.mktemp("shop"))


def run(store, shop, config=CONFIG, seed=1, **more):
    return prepare(store, shop.reviews, shop.products, config, seed=seed, **more)


def files(store, version):
    prefix = f"data/versions/{version}/"
    return {info.key.removeprefix(prefix): store.get(info.key).data for info in store.list(prefix)}


def test_a_version_has_every_file_and_no_pickle(shop):
    store = MemoryStore()
    prepared = run(store, shop)
    content = files(store, prepared.version)
    assert set(content) == TABLE
    assert not any(b"pickle" in data or data.startswith(b"\x80") for data in content.values())
    assert verify_version(store, prepared.version) == []


def test_the_result_tells_the_funnel_and_the_sizes(shop):
    store = MemoryStore()
    steps = []
    prepared = run(store, shop, on_step=lambda step, rows: steps.append((step, rows)))
    assert prepared.rows_in == 2_500 == prepared.rows_out + sum(step.rows for step in prepared.funnel)
    dataset = load_processed_data(store)
    assert (prepared.users, prepared.items) == dataset.X_train_confidence.shape
    assert prepared.train == dataset.X_train_confidence.nnz
    assert prepared.validation == dataset.val_interactions.height
    assert prepared.rows_out == prepared.train + prepared.validation + dataset.test_interactions.height
    assert [name for name, _ in steps] == ["read", "clean", "segment", "split", "publish"]
    assert steps[0][1] == 2_500
    assert steps[-1][1] == prepared.rows_out


def test_the_same_input_and_settings_find_the_existing_version(shop):
    store = MemoryStore()
    first = run(store, shop, seed=1)
    before = {info.key for info in store.list()}
    # Without max_users nothing is drawn, so the seed is no setting.
    again = run(store, shop, seed=2)
    assert again == replace(first, created=False)
    assert {info.key for info in store.list()} == before


@pytest.mark.parametrize("name", ["manifest.json", "items.parquet"])
def test_a_damaged_version_is_prepared_anew_and_the_new_one_is_meant(shop, name):
    store = MemoryStore()
    damaged = run(store, shop).version
    store.overwrite(f"data/versions/{damaged}/{name}", b"damaged")
    healed = run(store, shop)
    assert healed.created
    assert healed.version != damaged
    assert load_processed_data(store).version == healed.version
    assert run(store, shop) == replace(healed, created=False)


def test_other_settings_make_another_version_and_the_last_one_made_is_latest(shop):
    store = MemoryStore()
    first = run(store, shop)
    second = run(store, shop, DataConfig(min_item_positives=3))
    sampled = [run(store, shop, DataConfig(max_users=100), seed=seed) for seed in (1, 2)]
    assert len({first.version, second.version, *(each.version for each in sampled)}) == 4
    assert all(each.users <= 100 for each in sampled)
    assert resolve_version(store, "latest") == sampled[-1].version
    latest = [summary.version for summary in list_versions(store) if summary.is_latest]
    assert latest == [sampled[-1].version]


def test_preparing_an_old_version_again_does_nothing_and_says_so(shop):
    store = MemoryStore()
    first = run(store, shop)
    second = run(store, shop, DataConfig(min_item_positives=3))
    before = {info.key: info.etag for info in store.list()}
    again = run(store, shop)
    assert {info.key: info.etag for info in store.list()} == before
    assert resolve_version(store, "latest") == second.version
    warning = again.warnings[-1]
    assert again == replace(first, created=False, warnings=(*first.warnings, warning))
    assert second.version in warning
    assert f"recsys data set-latest {first.version}" in warning


def test_a_run_killed_before_it_moved_latest_is_completed_by_the_next(shop):
    store = MemoryStore()
    run(store, shop)
    store.fail_next("put_if_match", StoreUnavailable("gone"), key_contains="latest.json")
    with pytest.raises(StoreUnavailable):
        run(store, shop, DataConfig(min_item_positives=3))
    made = list_versions(store)[-1]
    assert not made.is_latest
    again = run(store, shop, DataConfig(min_item_positives=3))
    assert (again.version, again.created, again.warnings) == (resolve_version(store, "latest"), False, ())


@pytest.mark.parametrize("damage", ["pointer", "manifest", "deleted"])
def test_a_latest_that_cannot_be_read_gives_way_to_one_found_again(shop, damage):
    store = MemoryStore()
    first = run(store, shop)
    second = run(store, shop, DataConfig(min_item_positives=3))
    manifest = f"data/versions/{second.version}/manifest.json"
    if damage == "deleted":
        store.delete(manifest)
    else:
        store.overwrite("data/latest.json" if damage == "pointer" else manifest, b"damaged")
    assert run(store, shop) == replace(first, created=False)
    assert resolve_version(store, "latest") == first.version


def test_equal_input_gives_equal_bytes_in_any_store(shop, tmp_path):
    memory, local = MemoryStore(), LocalStore(tmp_path)
    contents = [files(store, run(store, shop).version) for store in (memory, local)]
    for content in contents:
        content.pop("manifest.json")
    assert contents[0] == contents[1]


def test_a_version_is_found_by_id_and_hash_prefix(shop):
    store = MemoryStore()
    prepared = run(store, shop)
    summary = list_versions(store)[0]
    assert summary.content_hash.startswith(prepared.version[-12:])
    for name in ("latest", prepared.version, summary.content_hash[:6], summary.content_hash):
        assert resolve_version(store, name) == prepared.version
    for name in ("nonsense!", "v_20200101T000000Z_000000000000", "f" * 64, "ab"):
        with pytest.raises(DataVersionNotFound):
            resolve_version(store, name)


def test_an_empty_store_has_no_latest():
    with pytest.raises(DataVersionNotFound, match="recsys prepare"):
        load_processed_data(MemoryStore())


@pytest.mark.parametrize("operation", ["put_file", "put_new"])
def test_a_killed_run_leaves_no_version_and_the_next_run_completes(shop, operation):
    store = MemoryStore()
    store.fail_next(operation, StoreUnavailable("gone"), skip=3 if operation == "put_file" else 0)
    with pytest.raises(StoreUnavailable):
        run(store, shop)
    assert list_versions(store) == []
    assert list(store.list("data/versions/")), "the fault came too early to leave anything behind"
    prepared = run(store, shop)
    assert prepared.created
    assert verify_version(store, prepared.version) == []
    assert [summary.version for summary in list_versions(store)] == [prepared.version]


def test_a_prefix_taken_within_the_same_second_is_left_alone(shop, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2026, 1, 1, 2, 0, 0, tzinfo=tz)

    monkeypatch.setattr("recsys.cf.data.prepare.datetime", Clock)
    store = MemoryStore()
    store.fail_next("put_file", StoreUnavailable("gone"), skip=1)
    with pytest.raises(StoreUnavailable):
        run(store, shop)
    left_behind = {info.key: store.get(info.key).data for info in store.list()}
    prepared = run(store, shop)
    assert prepared.version.startswith("v_20260101T020001Z_")
    assert all(store.get(key).data == data for key, data in left_behind.items())


def test_a_racing_run_that_takes_the_id_is_evaded(shop):
    store = MemoryStore()
    store.fail_next("put_file", ObjectExists("taken"), key_contains="interactions.parquet")
    assert verify_version(store, run(store, shop).version) == []


@pytest.mark.parametrize(("operation", "key"), [("put_new", "manifest"), ("put_new", "latest")])
def test_a_lost_reply_is_resolved_by_reading_back(shop, operation, key):
    store = MemoryStore()
    store.fail_next(operation, OutcomeUnknown("no reply"), after_commit=True, key_contains=key)
    prepared = run(store, shop)
    assert resolve_version(store, "latest") == prepared.version


def test_a_manifest_that_was_not_written_is_no_version(shop):
    store = MemoryStore()
    store.fail_next("put_new", OutcomeUnknown("no reply"), after_commit=False, key_contains="manifest")
    with pytest.raises(OutcomeUnknown):
        run(store, shop)
    assert list_versions(store) == []


def test_the_pointer_survives_a_lost_race(shop):
    store = MemoryStore()
    first = run(store, shop)
    other = json.dumps({"version": first.version}).encode()
    stolen = store.put_if_match

    def steal(key, data, etag):
        store.put_if_match = stolen
        stolen(key, other, etag)
        return stolen(key, data, etag)

    store.put_if_match = steal
    second = run(store, shop, DataConfig(min_item_positives=3))
    assert resolve_version(store, "latest") == second.version


def test_embeddings_become_part_of_the_version(shop, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, embeddings=np.ones((2, 3), np.float32), item_ids=["a", "b"])
    store = MemoryStore()
    without = run(store, shop)
    assert load_product_embeddings(store) is None
    prepared = run(store, shop, embeddings=path)
    assert prepared.version != without.version
    assert load_product_embeddings(store).item_ids == ("a", "b")
    assert any("cover 0 of" in warning for warning in prepared.warnings)
