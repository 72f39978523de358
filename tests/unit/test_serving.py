"""The serving client: right items, verified bytes, and following the champion."""

import os
from pathlib import Path

import numpy as np
import pytest
from sample_models import POPULARITY, publish, write_model

from recsys.errors import IntegrityError, ModelNotFound, StoreUnavailable
from recsys.registry import cache, load_champion, load_model
from recsys.registry.artifact import model_prefix, new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.registry.serving import ServingModel
from recsys.registry.snapshot import SNAPSHOT_KEY
from recsys.storage.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore) -> Registry:
    return Registry(store)


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def champion(registry: Registry, tmp_path: Path) -> str:
    model_id = publish(registry, write_model(tmp_path / "als"))
    registry.promote(model_id, reasons=["first"])
    return model_id


@pytest.fixture
def serving(store: MemoryStore, champion: str, cache_dir: Path) -> ServingModel:
    return load_champion(store, cache_dir=cache_dir)


def promote_another(registry: Registry, tmp_path: Path) -> str:
    model_id = publish(registry, write_model(tmp_path / new_version(), scale=2.0))
    registry.promote(model_id, reasons=["better"])
    return model_id


def test_recommends_unseen_items_best_first(serving: ServingModel) -> None:
    # u0: V0 = (4, 3, 2, 1), item-0 seen; range p01 = 1, p99 = 3
    found = serving.recommend("u0", k=2)
    assert [(r.item_id, r.title, r.score, r.normalized) for r in found] == [
        ("item-1", "Son", 3.0, 1.0),
        ("item-2", None, 2.0, 0.5),
    ]
    assert [r.item_id for r in serving.recommend("u1", k=10)] == ["item-2", "item-1"]


def test_ties_go_to_the_lower_item_idx(serving: ServingModel) -> None:
    assert [r.item_id for r in serving.recommend("u2", k=4)] == ["item-0", "item-1", "item-2", "item-3"]


def test_unknown_users_get_the_popular_items(serving: ServingModel) -> None:
    found = serving.recommend("nobody", k=3)
    assert [r.item_id for r in found] == ["item-2", "item-0", "item-1"]
    assert found[0].normalized == 1.0
    assert found[1].normalized == pytest.approx(float(POPULARITY[0] / POPULARITY[2]))
    assert serving.model.knows("u0")
    assert not serving.model.knows("nobody")


@pytest.mark.parametrize("k", [0, -1])
def test_nothing_asked_nothing_given(serving: ServingModel, k: int) -> None:
    assert serving.recommend("u0", k) == serving.recommend("nobody", k) == []


def test_factors_are_mapped_and_read_only(serving: ServingModel) -> None:
    assert isinstance(serving.model.user_factors, np.memmap)
    assert isinstance(serving.model.item_factors, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        serving.model.item_factors[0, 0] = 9.0


def test_without_a_champion(store: MemoryStore, cache_dir: Path) -> None:
    with pytest.raises(ModelNotFound, match="no champion yet"):
        load_champion(store, cache_dir=cache_dir)


def test_any_model_can_be_loaded(
    store: MemoryStore, registry: Registry, champion: str, tmp_path: Path
) -> None:
    candidate = publish(registry, write_model(tmp_path / "candidate", scale=2.0))
    model = load_model(store, candidate, cache_dir=tmp_path / "cache")
    assert (model.model_id, model.recommend("u0", 1)[0].score) == (candidate, 6.0)
    assert load_model(store, "champion", cache_dir=tmp_path / "cache").model_id == champion


def test_refresh_follows_promotion_and_rollback(
    serving: ServingModel, registry: Registry, champion: str, tmp_path: Path
) -> None:
    assert not serving.refresh()
    second = promote_another(registry, tmp_path)
    assert serving.model_id == champion
    assert serving.refresh()
    assert (serving.model_id, serving.recommend("u0", 1)[0].score) == (second, 6.0)
    assert not serving.refresh()
    registry.rollback("complaints")
    assert serving.refresh()
    assert serving.model_id == champion


def test_a_change_that_is_no_promotion_is_no_change(
    serving: ServingModel, registry: Registry, tmp_path: Path
) -> None:
    publish(registry, write_model(tmp_path / "candidate"))
    assert not serving.refresh()


def test_polling_is_two_requests_without_a_body(serving: ServingModel, store: MemoryStore) -> None:
    before = len(store.calls)
    serving.refresh()
    assert [operation for operation, _ in store.calls[before:]] == ["head", "head"]


def test_a_promotion_whose_writer_died_before_registry_json_is_seen(
    serving: ServingModel, store: MemoryStore, registry: Registry, tmp_path: Path
) -> None:
    candidate = publish(registry, write_model(tmp_path / "candidate"))
    serving.refresh()
    store.fail_next("put_if_match", StoreUnavailable("dead"), key_contains=SNAPSHOT_KEY, times=9)
    registry.promote(candidate, reasons=["better"])
    assert serving.refresh()
    assert serving.model_id == candidate


@pytest.mark.parametrize("name", ["als_U.npy", "mappings.parquet", "manifest.json"])
def test_a_tampered_champion_is_refused(
    store: MemoryStore, champion: str, cache_dir: Path, name: str
) -> None:
    key = model_prefix(champion) + name
    store.overwrite(key, store.get(key).data[:-2] + b"xx")
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        load_champion(store, cache_dir=cache_dir)
    assert list(cache_dir.glob("*")) == []


def test_a_damaged_new_champion_leaves_the_old_one_serving(
    serving: ServingModel, store: MemoryStore, registry: Registry, champion: str, tmp_path: Path
) -> None:
    second = promote_another(registry, tmp_path)
    key = model_prefix(second) + "als_V.npy"
    good = store.get(key).data
    store.overwrite(key, b"rotten")
    for _ in range(2):
        with pytest.raises(IntegrityError):
            serving.refresh()
        assert serving.model_id == champion
        assert serving.recommend("u0", 1)[0].score == 3.0
    store.overwrite(key, good)
    assert serving.refresh()
    assert serving.model_id == second


def test_the_cache_saves_the_download(store: MemoryStore, champion: str, cache_dir: Path) -> None:
    load_champion(store, cache_dir=cache_dir)
    before = len(store.calls)
    load_champion(store, cache_dir=cache_dir)
    assert "get_file" not in [operation for operation, _ in store.calls[before:]]


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_cache_is_fetched_again(
    store: MemoryStore, champion: str, cache_dir: Path, damage: str
) -> None:
    load_champion(store, cache_dir=cache_dir)
    (victim,) = cache_dir.glob("*/als_V.npy")
    if damage == "changed":
        victim.write_bytes(victim.read_bytes()[:-1] + b"\x01")
    else:
        victim.unlink()
    assert load_champion(store, cache_dir=cache_dir).recommend("u0", 1)[0].score == 3.0


def test_a_damaged_copy_that_cannot_be_replaced_is_never_returned(
    store: MemoryStore, champion: str, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of another user is in a directory with the sticky bit."""
    load_champion(store, cache_dir=cache_dir)
    (victim,) = cache_dir.glob("*/als_V.npy")
    victim.write_bytes(b"BAD!")
    monkeypatch.setattr(cache, "_remove", lambda copy: None)
    with pytest.raises(IntegrityError, match=r"als_V.npy was changed\) and cannot be replaced"):
        load_champion(store, cache_dir=cache_dir)
    assert [path.name for path in cache_dir.iterdir()] == [victim.parent.name], "the download is gone"


def test_old_copies_leave_the_cache(
    serving: ServingModel, registry: Registry, cache_dir: Path, tmp_path: Path
) -> None:
    for place, copy in enumerate(cache_dir.iterdir()):
        os.utime(copy, (place, place))
    for age in range(4):
        promote_another(registry, tmp_path)
        serving.refresh()
        for copy in cache_dir.iterdir():
            if copy.name.startswith(serving.model_id):
                os.utime(copy, (age + 10, age + 10))
    kept = sorted(copy.name[: len(serving.model_id)] for copy in cache_dir.iterdir())
    assert kept == sorted(entry.model_id for entry in registry.list()[:3])
    assert serving.recommend("u0", 1)[0].score == 6.0


def test_files_that_do_not_fit_each_other_are_refused(
    store: MemoryStore, registry: Registry, tmp_path: Path, cache_dir: Path
) -> None:
    odd = write_model(tmp_path / "odd")
    np.save(odd / "als_V.npy", np.ones((5, 3), np.float32))
    with pytest.raises(IntegrityError, match="V has 5, not 4; factors of V has 3, not 2"):
        load_model(store, publish(registry, odd), cache_dir=cache_dir)
    (odd / "items.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"items\.parquet"):
        load_model(store, publish(registry, odd), cache_dir=cache_dir)


def test_pickles_are_never_loaded(
    store: MemoryStore, registry: Registry, tmp_path: Path, cache_dir: Path
) -> None:
    evil = write_model(tmp_path / "evil")
    np.save(evil / "als_U.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(IntegrityError, match="cannot be served"):
        load_model(store, publish(registry, evil), cache_dir=cache_dir)


def test_a_model_that_is_staged_but_not_registered_is_not_served(
    store: MemoryStore, champion: str, tmp_path: Path, cache_dir: Path
) -> None:
    staged = stage_model(store, "als", new_version(), tmp_path / "als", facts={})
    with pytest.raises(ModelNotFound):
        load_model(store, staged, cache_dir=cache_dir)


def test_a_model_without_a_score_range_says_so(registry: Registry, tmp_path: Path, cache_dir: Path) -> None:
    folder = write_model(tmp_path / "als")
    (folder / "als_metadata.json").write_text('{"score_range": null}')
    model_id = publish(registry, folder)
    with pytest.raises(IntegrityError, match=f"{model_id} cannot be served, it has no score range"):
        load_model(registry.store, model_id, cache_dir=cache_dir)
