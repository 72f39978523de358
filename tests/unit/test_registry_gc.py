"""Garbage collection: what goes, and above all what stays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sample_models import publish, write_model

from recsys.registry.artifact import delete_files, model_prefix, new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.registry.gc import GcReport
from recsys.registry.lease import running, running_since
from recsys.storage.base import StoredObject
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore

NOW = datetime.now(UTC)
NEXT_WEEK = NOW + timedelta(days=7)
LEFTOVER = "~" + 32 * "a"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry(store: MemoryStore) -> Registry:
    return Registry(store)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    return write_model(tmp_path / "als")


def collect(
    registry: Registry, keep: int = 10, *, now: datetime = NEXT_WEEK, dry_run: bool = False
) -> GcReport:
    return registry.gc(keep_versions=keep, grace_hours=48, dry_run=dry_run, now=now)


def removed(report: GcReport) -> set[tuple[str, str]]:
    return {(item.kind, item.target) for item in report.items}


def test_a_dry_run_is_the_default_and_changes_nothing(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    stage_model(store, "als", new_version(), model_dir, facts={})
    before = [info.key for info in store.list()]
    report = registry.gc(keep_versions=1, grace_hours=48, now=NEXT_WEEK)
    assert report.dry_run
    assert report.to_json()["n_bytes"] == sum(info.n_bytes for info in store.list())
    assert [info.key for info in store.list()] == before


@pytest.mark.parametrize("complete", [True, False], ids=["with manifest", "without manifest"])
def test_orphans_go_after_the_grace_period(
    registry: Registry, store: MemoryStore, model_dir: Path, complete: bool
) -> None:
    kept = publish(registry, model_dir)
    orphan = stage_model(store, "als", new_version(), model_dir, facts={})
    if not complete:
        store.delete(model_prefix(orphan) + "manifest.json")
    assert removed(collect(registry, now=NOW + timedelta(hours=47))) == set()
    assert removed(collect(registry)) == {("orphan", orphan)}
    assert not list(store.list(model_prefix(orphan)))
    assert registry.verify() == []
    assert [entry.model_id for entry in registry.list()] == [kept]


def test_retention_counts_per_type_and_spares_the_aliases(
    registry: Registry, store: MemoryStore, model_dir: Path, tmp_path: Path
) -> None:
    als = [publish(registry, model_dir) for _ in range(5)]
    bpr = publish(registry, write_model(tmp_path / "bpr", "bpr"), "bpr")
    registry.promote(als[0], reasons=[])
    registry.promote(als[1], reasons=[])
    assert removed(collect(registry, keep=1, now=NOW + timedelta(hours=47))) == set()
    assert removed(collect(registry, keep=1)) == {("retired", als[2]), ("retired", als[3])}
    assert {entry.model_id for entry in registry.list()} == {als[0], als[1], als[4], bpr}
    assert not list(store.list(model_prefix(als[2])))
    assert registry.verify() == []
    assert [event.action for event in registry.history()][-2:] == ["delete", "delete"]
    assert removed(collect(registry, keep=1)) == set()


def test_runs_go_when_they_are_over(registry: Registry, store: MemoryStore) -> None:
    store.put_new("runs/r_000000000001_00000000/als/checkpoint-5.npz", b"123")
    store.put_new("runs/r_000000000002_00000000/als/checkpoint-5.npz", b"123")
    with running(store, "r_000000000002_00000000", hours=24 * 30):
        assert removed(collect(registry)) == {("run", "r_000000000001_00000000")}
        kept = [info.key for info in store.list("runs/")]
        assert kept[0] == "runs/r_000000000002_00000000/als/checkpoint-5.npz"
        assert len(kept) == 2
        assert kept[1].startswith("runs/r_000000000002_00000000/running-")
    assert removed(collect(registry)) == {("run", "r_000000000002_00000000")}
    assert list(store.list("runs/")) == []


def test_a_running_stage_protects_what_it_is_staging_and_its_models(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    with running(store, "r_000000000001_00000000", hours=24 * 30):
        half_staged = stage_model(store, "als", new_version(), model_dir, facts={})
        store.delete(model_prefix(half_staged) + "manifest.json")
        finished = publish(registry, model_dir, run_id="r_000000000001_00000000")
        newer = publish(registry, model_dir, run_id="r_000000000002_00000000")
        assert removed(collect(registry, keep=1)) == set()
    assert removed(collect(registry, keep=1)) == {("orphan", half_staged), ("retired", finished)}
    assert registry.show(newer)


def test_a_lease_of_a_killed_attempt_expires_and_each_attempt_has_its_own(store: MemoryStore) -> None:
    killed = running(store, "r_000000000001_00000000", hours=1)
    killed.__enter__()
    assert set(running_since(store, NOW)) == {"r_000000000001_00000000"}
    assert running_since(store, NOW + timedelta(hours=2)) == {}
    with running(store, "r_000000000001_00000000", hours=5):
        assert set(running_since(store, NOW + timedelta(hours=2))) == {"r_000000000001_00000000"}
    assert set(running_since(store, NOW)) == {"r_000000000001_00000000"}, (
        "the killed attempt's own lease is not ended by another"
    )
    assert running_since(store, NOW + timedelta(hours=2)) == {}


def test_result_and_reports_stay_while_a_model_of_the_run_is_registered(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    publish(registry, model_dir, run_id="r_000000000001_00000000")
    for name in ("result.json", "reports/1.html", "als/checkpoints/000005.npz", "als/U.npy"):
        store.put_new(f"runs/r_000000000001_00000000/{name}", b"1")
        store.put_new(f"runs/r_000000000000_00000000/{name}", b"1")
    collect(registry)
    kept = [info.key for info in store.list("runs/")]
    assert kept == ["runs/r_000000000001_00000000/reports/1.html", "runs/r_000000000001_00000000/result.json"]


def test_an_unreadable_lease_protects_its_run(registry: Registry, store: MemoryStore) -> None:
    store.put_new("runs/r_000000000001_00000000/checkpoint", b"1")
    store.put_new("runs/r_000000000001_00000000/running-1.json", b"broken")
    assert removed(collect(registry)) == set()


def test_data_strangers_and_the_log_are_left_alone(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    publish(registry, model_dir)
    for key in (
        "data/versions/v_1/manifest.json",
        "registry/models/README",
        "registry/models/als/notes/x",
        "runs/exp1/events.out.tfevents.1",
        "runs/r_notes/x",
        "z",
    ):
        store.put_new(key, b"1")
    before = [info.key for info in store.list()]
    assert removed(collect(registry)) == set()
    assert [info.key for info in store.list()] == before


def test_an_interrupted_collection_is_finished_by_the_next(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    old, new = publish(registry, model_dir), publish(registry, model_dir)
    registry.delete(old)
    stage_again = model_prefix(old) + "als_U.npy"
    store.put_new(stage_again, b"what a kill between two deletions leaves")
    assert removed(collect(registry)) == {("orphan", old)}
    assert delete_files(store, old) == 0
    assert [entry.model_id for entry in registry.list()] == [new]


def test_a_model_promoted_during_the_collection_stays(
    registry: Registry, store: MemoryStore, model_dir: Path
) -> None:
    old, older, _ = [publish(registry, model_dir) for _ in range(3)]
    other = Registry(store)
    real_delete = registry.delete

    def delete(name: str, reasons: Sequence[str] = ()) -> str:
        if other.state().champion is None:
            other.promote(old, reasons=["better after all"])
        return real_delete(name, reasons)

    registry.delete = delete  # type: ignore[method-assign]
    collect(registry, keep=1)
    assert registry.show("champion").model_id == old
    assert registry.verify() == []
    assert older not in registry.state().models


def test_probes_of_killed_processes_go(registry: Registry, store: MemoryStore) -> None:
    store.put_new("registry/probe/0123", b"first")
    assert removed(collect(registry)) == {("probe", "registry/probe/0123")}
    assert list(store.list()) == []


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.put_new("registry/x", b"1")
    (store.root / "registry" / LEFTOVER).write_bytes(b"half")
    registry = Registry(store)
    assert removed(collect(registry, dry_run=True)) == {("leftover", f"registry/{LEFTOVER}")}
    collect(registry)
    assert not (store.root / "registry" / LEFTOVER).exists()
    assert store.get("registry/x").data == b"1"


def test_files_of_other_people_are_never_leftovers(tmp_path: Path) -> None:
    """As in a store that is a folder with other things in it: --store ."""
    store = LocalStore(tmp_path)
    registry = Registry(store)
    theirs = (
        f"notes/{LEFTOVER}",
        "notes/~backup.csv",
        "registry/~backup.csv",
        f"registry/{LEFTOVER}.bak",
        "~lock",
    )
    for name in theirs:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("years of work")
    assert removed(collect(registry)) == set()
    assert store.sweep(NEXT_WEEK, dry_run=False, below=["registry/"]) == []
    assert all((tmp_path / name).read_text() == "years of work" for name in theirs)


def test_a_lease_that_is_given_back_while_leases_are_read_is_none(store: MemoryStore) -> None:
    real_get = store.get
    with running(store, "r_000000000001_00000000"), running(store, "r_000000000002_00000000"):

        def get(key: str) -> StoredObject:
            if "000001" in key:
                store.delete(key)
            return real_get(key)

        store.get = get  # type: ignore[method-assign]
        assert set(running_since(store, NOW)) == {"r_000000000002_00000000"}
