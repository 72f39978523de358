"""Every change behind the registry's back is a finding."""

import json
from pathlib import Path

import pytest
from sample_models import publish, write_model

from recsys.errors import RegistryError
from recsys.registry.artifact import model_prefix
from recsys.registry.catalogue import Registry
from recsys.registry.documents import decode, encode
from recsys.registry.log import event_key
from recsys.registry.snapshot import SNAPSHOT_KEY, encode_snapshot
from recsys.registry.state import RegistryState
from recsys.storage.memory import MemoryStore


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    store = MemoryStore()
    registry = Registry(store)
    model_dir = write_model(tmp_path / "als")
    for _ in range(2):
        registry.promote(publish(registry, model_dir), reasons=["better"])
    assert registry.verify() == []
    return store


def findings(store: MemoryStore) -> str:
    return "; ".join(Registry(store).verify())


def test_every_object_of_the_registry_is_watched(store: MemoryStore) -> None:
    """Flip one byte of any object: verify says so, and says nothing more once it is restored."""
    keys = [info.key for info in store.list("registry/")]
    assert len(keys) == 4 + 1 + 2 * 8  # events, registry.json, two models of seven files and a manifest
    for key in keys:
        good = store.get(key).data
        middle = len(good) // 2
        store.overwrite(key, good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
        assert Registry(store).verify(), key
        store.overwrite(key, good)
        assert Registry(store).verify() == []


def test_every_object_is_missed(store: MemoryStore) -> None:
    for info in list(store.list("registry/")):
        good = store.get(info.key).data
        store.delete(info.key)
        # registry.json is a hint that readers can do without; everything else is needed.
        assert bool(Registry(store).verify()) == (info.key != SNAPSHOT_KEY), info.key
        store.put_new(info.key, good)


def test_an_event_rewritten_with_care_breaks_the_chain(store: MemoryStore) -> None:
    event = json.loads(store.get(event_key(2)).data)
    event["reasons"] = ["it was always meant to be"]
    store.overwrite(event_key(2), encode(event))
    assert "event 3 of the registry log does not follow event 2" in findings(store)
    store.delete(SNAPSHOT_KEY)
    with pytest.raises(RegistryError, match="restore the bucket"):
        Registry(store).state()


def test_the_last_event_is_vouched_for_by_registry_json(store: MemoryStore) -> None:
    event = json.loads(store.get(event_key(4)).data)
    store.overwrite(event_key(4), encode({**event, "actor": "somebody else"}))
    assert "does not say what the log says" in findings(store)


def test_registry_json_from_another_world(store: MemoryStore) -> None:
    store.overwrite(SNAPSHOT_KEY, encode_snapshot(RegistryState(generation=99)))
    assert "the readable log ends at 4" in findings(store)


def test_a_gap_in_the_log(store: MemoryStore) -> None:
    store.delete(event_key(3))
    assert f"{event_key(4)} does not follow event 2" in findings(store)


def test_a_model_replaced_together_with_its_manifest(store: MemoryStore) -> None:
    """The registration holds the manifest's hash, so a consistent forgery is noticed as well."""
    model_id = Registry(store).show("champion").model_id
    key = model_prefix(model_id) + "manifest.json"
    manifest = decode(store.get(key).data, key)
    manifest["files"].pop("als_U.npy")
    store.overwrite(key, encode(manifest))
    store.delete(model_prefix(model_id) + "als_U.npy")
    assert "not the manifest that was registered" in findings(store)
