"""Model versions: complete or absent, verified at every reading."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sample_models import write_model

from recsys.errors import IntegrityError, ModelNotFound, ObjectExists, RegistryError, StoreUnavailable
from recsys.registry.artifact import (
    delete_files,
    fetch_model,
    make_model_id,
    model_prefix,
    new_version,
    read_manifest,
    split_model_id,
    stage_model,
    verify_model,
)
from recsys.storage.base import file_sha256
from recsys.storage.memory import MemoryStore

VERSION = "20300131T235959Z_0badcafe"
MODEL_ID = f"als_{VERSION}"
PREFIX = f"registry/models/als/{VERSION}/"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write_model(tmp_path / "als")


def test_ids() -> None:
    version = new_version(datetime(2030, 1, 31, 23, 59, 59, tzinfo=UTC))
    assert version.startswith("20300131T235959Z_")
    assert len({new_version() for _ in range(50)}) == 50
    assert split_model_id(make_model_id("als_native", version)) == ("als_native", version)
    assert model_prefix(MODEL_ID) == PREFIX
    for wrong in ("als", "als_1", "../x_20300131T235959Z_0badcafe", f"{MODEL_ID}/x", f"{MODEL_ID}\n", ""):
        with pytest.raises(RegistryError, match="no model id"):
            split_model_id(wrong)


def test_staging_uploads_everything_and_the_manifest_last(store: MemoryStore, model_dir: Path) -> None:
    assert stage_model(store, "als", VERSION, model_dir, facts={"git": "abc"}) == MODEL_ID
    manifest = read_manifest(store, MODEL_ID)
    assert manifest["facts"] == {"git": "abc"}
    assert manifest["files"] == {
        path.name: {"sha256": file_sha256(path), "n_bytes": path.stat().st_size}
        for path in model_dir.iterdir()
    }
    writes = [key for operation, key in store.calls if operation.startswith("put")]
    assert writes[-1] == PREFIX + "manifest.json"
    assert verify_model(store, MODEL_ID) == []


def test_a_killed_attempt_is_completed_by_running_again(store: MemoryStore, model_dir: Path) -> None:
    n_files = len(list(model_dir.iterdir()))
    for n_uploaded in range(n_files + 1):  # an attempt dies before each file, and before the manifest
        operation = "put_file" if n_uploaded < n_files else "put_new"
        store.fail_next(operation, StoreUnavailable("down"), skip=n_uploaded % n_files)
        with pytest.raises(StoreUnavailable):
            stage_model(store, "als", VERSION, model_dir, facts={})
        with pytest.raises(ModelNotFound):
            read_manifest(store, MODEL_ID)
    store.fail_next("put_new", StoreUnavailable("the answer was lost"), after_commit=True)
    with pytest.raises(StoreUnavailable):
        stage_model(store, "als", VERSION, model_dir, facts={})
    for _ in range(2):
        assert stage_model(store, "als", VERSION, model_dir, facts={}) == MODEL_ID
    assert verify_model(store, MODEL_ID) == []


def test_other_bytes_under_the_same_version_are_refused(
    store: MemoryStore, model_dir: Path, tmp_path: Path
) -> None:
    stage_model(store, "als", VERSION, model_dir, facts={})
    with pytest.raises(ObjectExists):
        stage_model(store, "als", VERSION, model_dir, facts={"another": "run"})
    with pytest.raises(ObjectExists):
        stage_model(store, "als", VERSION, write_model(tmp_path / "other", scale=2), facts={})
    assert verify_model(store, MODEL_ID) == []


def test_a_store_that_returns_other_bytes_is_found_at_upload(store: MemoryStore, model_dir: Path) -> None:
    real = store.put_file

    def corrupting(key: str, path: Path) -> str:
        sha256 = real(key, path)
        if key.endswith("_V.npy"):
            store.overwrite(key, path.read_bytes()[:-1] + b"\xff")
        return sha256

    store.put_file = corrupting  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match=r"als_V\.npy"):
        stage_model(store, "als", VERSION, model_dir, facts={})
    assert store.head(PREFIX + "manifest.json") is None


def test_what_cannot_be_a_model_is_refused(store: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RegistryError, match="nothing"):
        stage_model(store, "als", VERSION, tmp_path / "empty", facts={})
    (write_model(tmp_path / "als") / "plots").mkdir()
    with pytest.raises(RegistryError, match="plots"):
        stage_model(store, "als", VERSION, tmp_path / "als", facts={})
    assert list(store.list()) == []


def test_fetching_gives_the_same_files(store: MemoryStore, model_dir: Path, tmp_path: Path) -> None:
    stage_model(store, "als", VERSION, model_dir, facts={})
    copy = fetch_model(store, MODEL_ID, tmp_path / "copy")
    for path in model_dir.iterdir():
        assert (copy / path.name).read_bytes() == path.read_bytes()
    assert json.loads((copy / "manifest.json").read_text())["model_id"] == MODEL_ID


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest changed", "manifest of another", "extra"])
def test_damage_is_found_by_verify_and_by_fetch(
    store: MemoryStore, model_dir: Path, tmp_path: Path, damage: str
) -> None:
    stage_model(store, "als", VERSION, model_dir, facts={})
    registered = file_sha256(fetch_model(store, MODEL_ID, tmp_path / "before") / "manifest.json")
    manifest = store.get(PREFIX + "manifest.json").data
    if damage == "changed":
        store.overwrite(PREFIX + "als_U.npy", b"tampered")
    elif damage == "missing":
        store.delete(PREFIX + "als_U.npy")
    elif damage == "manifest changed":
        store.overwrite(PREFIX + "manifest.json", manifest.replace(b'"facts": {}', b'"facts": {"a": 1}'))
    elif damage == "manifest of another":
        store.overwrite(PREFIX + "manifest.json", manifest.replace(b"0badcafe", b"deadbeef"))
    else:
        store.put_new(PREFIX + "planted.npy", b"1")
    findings = verify_model(store, MODEL_ID, expected_sha256=registered)
    assert len(findings) == 1
    if damage == "extra":
        assert "planted.npy" in findings[0]
        assert not (fetch_model(store, MODEL_ID, tmp_path / "copy") / "planted.npy").exists()
        return
    with pytest.raises(IntegrityError) as raised:
        fetch_model(store, MODEL_ID, tmp_path / "copy", expected_sha256=registered)
    assert ("manifest.json" if "manifest" in damage else "als_U.npy") in str(raised.value)


def test_deleting_starts_with_the_manifest(store: MemoryStore, model_dir: Path) -> None:
    stage_model(store, "als", VERSION, model_dir, facts={})
    n_objects = len(list(store.list()))
    assert delete_files(store, MODEL_ID) == n_objects
    deleted = [key for operation, key in store.calls if operation == "delete"]
    assert deleted[0] == PREFIX + "manifest.json"
    assert list(store.list()) == []
