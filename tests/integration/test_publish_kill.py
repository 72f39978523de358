"""A nightly publish killed at any step: what serves, what a rerun does, what verify and gc say."""

import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kill_at_each_step
import pytest
from sample_models import publish

from recsys.registry.artifact import new_version, verify_model
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

NEXT_DAY = datetime.now(UTC) + timedelta(days=1)


@dataclass(frozen=True)
class Killed:
    """Stores in which the publish of ``new`` over ``old`` was killed, in the order of the steps."""

    folder: Path
    old: str
    version: str

    @property
    def stores(self) -> list[LocalStore]:
        return [LocalStore(root) for root in sorted((self.folder / "stores").iterdir())]

    @property
    def model_dir(self) -> Path:
        return self.folder / "als"

    @property
    def new(self) -> str:
        return f"als_{self.version}"


@pytest.fixture(scope="module")
def killed_once(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    folder = tmp_path_factory.mktemp("kill")
    (folder / "als").mkdir()
    for name in ("als_U.npy", "als_V.npy"):
        (folder / "als" / name).write_bytes(name.encode() * 100)
    template = LocalStore(folder / "template")
    old = publish(Registry(template), folder / "als")
    Registry(template).promote(old, reasons=["first"])
    killed = Killed(folder, old, new_version())
    script = [sys.executable, kill_at_each_step.__file__, template.uri, killed.model_dir, killed.version]
    subprocess.run([*script, killed.folder / "stores"], check=True)
    return killed


@pytest.fixture
def killed(killed_once: Killed, tmp_path: Path) -> Killed:
    shutil.copytree(killed_once.folder, tmp_path / "kill")
    return replace(killed_once, folder=tmp_path / "kill")


def test_a_champion_serves_and_a_rerun_completes(killed: Killed) -> None:
    assert len(killed.stores) > 100
    champions = [check_as_it_lies(store, killed) for store in killed.stores]
    # Before the promotion is in the log the old champion serves, afterwards the new one: one switch, no gap.
    assert champions == sorted(champions, key=lambda champion: champion != killed.old)
    assert set(champions) == {killed.old, killed.new}
    for store in killed.stores:
        check_rerun(store, killed.model_dir, killed.version)
        check_collection(store)


def check_as_it_lies(store: LocalStore, killed: Killed) -> str:
    """The registry is sound right after the kill, and one of both models serves with all its bytes."""
    registry = Registry(store)
    champion = registry.show("champion")
    assert champion.model_id in (killed.old, killed.new)
    assert verify_model(store, champion.model_id, expected_sha256=champion.manifest_sha256) == []
    assert registry.verify() == [], store.uri
    return champion.model_id


def check_rerun(store: LocalStore, model_dir: Path, version: str) -> None:
    """Running the same publish again completes it, once."""
    new = kill_at_each_step.publish(store, model_dir, version)
    registry = Registry(store)
    assert registry.show("champion").model_id == new
    assert [event.action for event in registry.history()] == ["register", "promote"] * 2, store.uri
    assert registry.verify() == []


def check_collection(store: LocalStore) -> None:
    """After a collection nothing is left that the registry does not know, not even temporary files."""
    registry = Registry(store)
    report = registry.gc(keep_versions=9, grace_hours=1, now=NEXT_DAY, dry_run=False)
    names = [path.name for path in store.root.rglob("*") if path.is_file() and path.name.startswith("~")]
    assert names == ["~lock"], store.uri
    places = {info.key.split("/")[1] for info in store.list()}
    assert places == {"log", "models", "registry.json"}, report
    assert registry.verify() == []


def test_an_abandoned_publish_is_found_by_gc(killed: Killed) -> None:
    """Nobody reruns that version: whatever it left of its model is an orphan, the rest is untouched."""
    n_orphans = 0
    for store in killed.stores:
        registry = Registry(store)
        known = {entry.model_id for entry in registry.list()}
        staged = models_in(store)
        report = registry.gc(keep_versions=9, grace_hours=1, now=NEXT_DAY, dry_run=False)
        orphans = {item.target for item in report.items if item.kind == "orphan"}
        assert orphans == staged - known
        assert models_in(store) == known
        assert registry.verify() == []
        n_orphans += len(orphans)
    assert n_orphans > 10


def models_in(store: LocalStore) -> set[str]:
    return {"als_" + info.key.split("/")[3] for info in store.list("registry/models/")}
