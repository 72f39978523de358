"""Batch recommendations: the lists that serving gives, visible only when whole, found and completed by a rerun."""

import importlib.util
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from listed_models import parquet_of, random_model, rows_of, store_with_champion
from sample_models import publish

from recsys.config.load import load_config
from recsys.errors import ConfigError, IntegrityError, ModelNotFound, RecallTooLow, StoreUnavailable
from recsys.pipeline import list_parts
from recsys.pipeline.list_retention import list_sets, plan_set_retention, remove_sets
from recsys.pipeline.list_set import LATEST_KEY, open_set
from recsys.pipeline.recommend_all import recommend_all
from recsys.registry import load_model
from recsys.registry.catalogue import Registry
from recsys.registry.lease import running
from recsys.storage.local import LocalStore

SMALL_FILES = ("recommend.rows_per_file=128",)  # 300 users: three files
needs_faiss = pytest.mark.skipif(
    importlib.util.find_spec("faiss") is None, reason="pip install 'train-cf[ann]'"
)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path):
    return store_with_champion(tmp_path / "store")


def made(store, *settings, model="champion", **more):
    return recommend_all(store.uri, load_config(None, [*SMALL_FILES, *settings]), model=model, **more)


def test_lists_are_those_that_serving_gives(store):
    result = made(store)
    served = load_model(store, "champion")
    rows = rows_of(store, result["prefix"])
    assert rows.schema == {
        "user_id": pl.String,
        "item_ids": pl.List(pl.String),
        "scores": pl.List(pl.Float32),
        "normalized": pl.List(pl.Float32),
    }
    assert rows["user_id"].to_list() == sorted(served.user_rows)
    for row in rows.iter_rows(named=True):
        expected = served.recommend(row["user_id"], 10)
        assert row["item_ids"] == [one.item_id for one in expected]
        assert row["scores"] == [one.score for one in expected]
        np.testing.assert_allclose(row["normalized"], [one.normalized for one in expected], atol=1e-7)
    lengths = rows["item_ids"].list.len()
    assert result["n_short"] == (lengths < 10).sum() == 9
    assert lengths.min() == 4


def test_the_manifest_has_the_list_of_users_the_model_does_not_know(store):
    prefix = made(store)["prefix"]
    popular = json.loads(store.get(f"{prefix}/manifest.json").data)["popular"]
    expected = load_model(store, "champion").recommend("nobody", 10)
    assert popular["item_ids"] == [one.item_id for one in expected]
    assert popular["scores"] == [one.score for one in expected]
    assert popular["normalized"] == [one.normalized for one in expected]


def test_users_are_spread_over_files_in_order(store):
    result = made(store)
    manifest = json.loads(store.get(f"{result['prefix']}/manifest.json").data)
    assert [entry["n_users"] for entry in manifest["files"]] == [128, 128, 44]
    assert [entry["first_user_idx"] for entry in manifest["files"]] == [0, 128, 256]
    assert manifest["n_users"] == 300
    assert manifest["recall"] is None


def test_equal_models_and_settings_give_equal_bytes(store, tmp_path):
    first = made(store)
    other = LocalStore(tmp_path / "other")
    for info in store.list("registry/"):
        other.put_new(info.key, store.get(info.key).data)
    again = made(other, "runtime.threads=1")
    assert again["set_id"] == first["set_id"]
    assert parquet_of(other, again["prefix"]) == parquet_of(store, first["prefix"])


def test_a_rerun_finds_what_is_finished(store):
    first = made(store)
    before = parquet_of(store, first["prefix"])
    again = made(store)
    assert (first["reused"], again["reused"]) == (False, True)
    assert {**again, "reused": False, "seconds": 0, "users_per_second": 0} == {
        **first,
        "seconds": 0,
        "users_per_second": 0,
    }
    assert parquet_of(store, first["prefix"]) == before


@pytest.mark.parametrize("setting", ["recommend.k=3", "recommend.rows_per_file=64"])
def test_other_settings_make_another_set(store, setting):
    assert made(store, setting)["set_id"] != made(store)["set_id"]


def test_an_attempt_that_died_is_invisible_and_completed(store, monkeypatch):
    computed = []
    compute, put = list_parts.compute_lists, LocalStore.put_file

    def counted(lists, users, on_users, **more):
        computed.append(len(users))
        return compute(lists, users, on_users, **more)

    def dies(self, key, path):
        if "part-00001" in key:
            raise StoreUnavailable("the store is gone")
        return put(self, key, path)

    monkeypatch.setattr(list_parts, "compute_lists", counted)
    monkeypatch.setattr(LocalStore, "put_file", dies)
    with pytest.raises(StoreUnavailable):
        made(store)
    prefix = open_set(store.uri, load_config(None, SMALL_FILES)).prefix
    assert set(parquet_of(store, prefix)) == {"part-00000.parquet", "part-00000.json"}
    assert store.head(LATEST_KEY) is None
    assert computed == [128, 128]
    monkeypatch.setattr(LocalStore, "put_file", put)
    result = made(store)
    assert computed == [128, 128, 128, 44], "the first file is found by its hash"
    assert rows_of(store, result["prefix"]).height == 300


def test_a_damaged_unfinished_file_is_computed_again(store):
    good = parquet_of(store, made(store)["prefix"])
    prefix = open_set(store.uri, load_config(None, SMALL_FILES)).prefix
    store.delete(f"{prefix}/manifest.json")
    replace(store, f"{prefix}/part-00001.parquet", b"rotten")
    store.delete(f"{prefix}/part-00002.parquet")
    made(store)
    assert parquet_of(store, prefix) == good


def test_a_published_set_that_rots_is_made_again(store):
    prefix = made(store)["prefix"]
    good = parquet_of(store, prefix)
    replace(store, f"{prefix}/part-00000.parquet", b"rotten")
    assert not made(store)["reused"]
    assert parquet_of(store, prefix) == good


def replace(store, key, data):
    store.delete(key)
    store.put_new(key, data)


def test_other_lists_under_a_published_id_are_refused(store, monkeypatch):
    prefix = made(store)["prefix"]
    monkeypatch.setattr("recsys.pipeline.recommend_all.finished_set", lambda lists: None)
    replace(store, f"{prefix}/manifest.json", b"{}")
    with pytest.raises(IntegrityError, match="another attempt"):
        made(store)


def test_any_model_can_be_asked_and_only_the_champion_moves_latest(store, tmp_path):
    champion = made(store)
    assert json.loads(store.get(LATEST_KEY).data)["prefix"] == champion["prefix"]
    candidate = publish(Registry(store), random_model(tmp_path / "candidate", 20, 30, seed=5))
    assert made(store, model=candidate)["n_users"] == 20
    assert json.loads(store.get(LATEST_KEY).data)["prefix"] == champion["prefix"]
    Registry(store).promote(candidate, reasons=["better"])
    assert made(store)["reused"]
    assert json.loads(store.get(LATEST_KEY).data)["model_id"] == candidate


def test_without_a_champion_nothing_is_made(tmp_path):
    with pytest.raises(ModelNotFound, match="no champion yet"):
        made(LocalStore(tmp_path / "empty"))


@needs_faiss
def test_an_approximate_index_tells_its_recall_and_scores_exactly(tmp_path):
    store = store_with_champion(tmp_path / "large", n_items=3000)
    exact = rows_of(store, made(store)["prefix"])
    result = made(store, "recommend.method=hnsw", "recommend.recall_users=300")
    found = rows_of(store, result["prefix"])
    common = sum(
        len({*ours} & {*theirs}) for ours, theirs in zip(found["item_ids"], exact["item_ids"], strict=True)
    )
    assert result["recall"]["value"] == pytest.approx(common / exact["item_ids"].list.len().sum())
    assert 0.95 <= result["recall"]["value"] <= 1
    assert result["recall"]["n_users"] == 300
    for ours, theirs in zip(found.iter_rows(named=True), exact.iter_rows(named=True), strict=True):
        scores = dict(zip(theirs["item_ids"], theirs["scores"], strict=True))
        told = zip(ours["item_ids"], ours["scores"], strict=True)
        assert all(scores[item] == score for item, score in told if item in scores)
        assert len(ours["item_ids"]) == len(theirs["item_ids"]), "seen items are made up for"
    again = parquet_of(store, result["prefix"])
    list_parts._hnsw_search.cache_clear()
    for name in again:
        store.delete(f"{result['prefix']}/{name}")
    made(store, "recommend.method=hnsw", "recommend.recall_users=300")
    assert parquet_of(store, result["prefix"]) == again, "a graph built again gives the same bytes"


@needs_faiss
def test_lists_of_too_low_a_recall_are_not_published(tmp_path):
    store = store_with_champion(tmp_path / "large", n_items=3000)
    poor = ("recommend.hnsw_m=2", "recommend.hnsw_ef_construction=2", "recommend.hnsw_ef_search=1")
    with pytest.raises(RecallTooLow, match=r"hnsw_ef_search.*method=exact"):
        made(store, "recommend.method=hnsw", "recommend.min_recall=0.999", *poor)
    assert not list(store.list("recommendations/"))


def test_without_faiss_the_extra_is_named(store, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    list_parts._hnsw_search.cache_clear()
    with pytest.raises(ConfigError, match=r"train-cf\[ann\]"):
        made(store, "recommend.method=hnsw")


def test_old_sets_leave_but_the_newest_the_latest_and_those_at_work_stay(store):
    made(store)  # latest, as the others are not of the champion by that name
    champion = Registry(store).state().champion
    for k in (1, 2, 3):
        made(store, f"recommend.k={k}", model=champion)
    killed = open_set(store.uri, load_config(None, ["recommend.k=7"]), champion)
    list_parts.write_part(killed, 0)
    assert len(list_sets(store)) == 5
    now = datetime.now(UTC)
    soon = now + timedelta(hours=1)
    young = plan_set_retention(store, keep_sets=1, cutoff=now - timedelta(hours=1), now=now)
    assert young == []
    with running(store, killed.set_id):
        assert plan_set_retention(store, keep_sets=1, cutoff=soon, now=now) == []
    (old,) = plan_set_retention(store, keep_sets=1, cutoff=soon, now=now)
    assert (old.prefix, old.reason) == (killed.prefix, "never finished")
    remove_sets(store, [old], cutoff=soon, now=now)
    assert len(list_sets(store)) == 4


def test_of_the_same_settings_only_the_newest_stay(store, tmp_path):
    made(store)
    for seed in (1, 2):
        candidate = publish(Registry(store), random_model(tmp_path / f"m{seed}", 20, 30, seed))
        made(store, model=candidate)
    soon = datetime.now(UTC) + timedelta(hours=1)
    sets = list_sets(store)
    assert [one.is_latest for one in sets] == [True, False, False]
    old = plan_set_retention(store, keep_sets=1, cutoff=soon, now=soon)
    assert [one.prefix for one in old] == [sets[1].prefix], "latest.json names the first"
    remove_sets(store, old, cutoff=soon, now=soon)
    assert [one.prefix for one in list_sets(store)] == [sets[0].prefix, sets[2].prefix]


def test_files_of_other_people_are_no_sets(store):
    """As in a store that is a folder with other things in it: --store ."""
    key = "recommendations/2026/january/part-00000.parquet"
    store.put_new(key, b"years of work")
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert list_sets(store) == []
    assert plan_set_retention(store, keep_sets=1, cutoff=soon, now=soon) == []
