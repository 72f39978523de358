"""Garbage collection beside those who begin to use what it is removing: what they use stays, whole.

Everything here is interleaved at the store: something happens right before the n-th deletion, when every question has
been asked. What then goes is what may go at worst.
"""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from listed_models import store_with_champion
from sample_models import publish, write_model

from recsys.cf.data.latest import move_latest
from recsys.cf.data.retention import plan_retention, remove_versions
from recsys.config.load import load_config
from recsys.errors import StoreUnavailable
from recsys.pipeline import list_parts
from recsys.pipeline import recommend_all as stage
from recsys.pipeline.data_needed import is_needed
from recsys.pipeline.list_retention import plan_set_retention, remove_sets
from recsys.pipeline.list_set import LATEST_KEY, open_set, read_set, set_findings
from recsys.pipeline.recommend_all import recommend_all
from recsys.registry.artifact import MANIFEST, model_prefix, new_version, stage_model
from recsys.registry.catalogue import Registry
from recsys.registry.lease import running
from recsys.storage.documents import read_document
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore
from recsys.storage.open import open_store

GRACE = timedelta(hours=48)
RUN, OTHER_RUN = "r_aaaaaaaaaaaa_11111111", "r_bbbbbbbbbbbb_22222222"
OLD, OTHER, NEW = (f"v_2026010{day}T000000Z_{digit * 12}" for day, digit in ((1, "a"), (2, "b"), (3, "c")))


class Interleaved:
    """A store as a collection sees it: what is there at first is a week old; something happens before a deletion."""

    def __init__(self, store, happens=lambda: None, *, before_deletion=1):
        self._store, self._happens, self._before = store, happens, before_deletion
        self._old = {info.key for info in store.list()}
        self.deleted = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def list(self, prefix=""):
        for info in self._store.list(prefix):
            age = timedelta(days=7 if info.key in self._old else 0)
            yield replace(info, modified_at=info.modified_at - age)

    def delete(self, key):
        if not key.startswith("registry/probe/"):
            self.deleted.append(key)
            if len(self.deleted) == self._before:
                self._happens()
        self._store.delete(key)


@pytest.fixture(params=["memory", "local", "seaweedfs"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    return open_store(request.getfixturevalue("s3").new_uri())


@pytest.fixture
def held():
    """Return what gives back at the end the leases that a test took."""
    with ExitStack() as leases:
        yield leases


def collect(store, **rules):
    return Registry(store).gc(keep_versions=9, grace_hours=48, dry_run=False, **rules)


def fill_run(store, run_id):
    for name in ("U.npy", "V.npy", "checkpoints/000005.npz", "fit.json"):  # as a fit writes them
        store.put_new(f"runs/{run_id}/als/{name}", b"1")


def names(store, prefix):
    return {info.key.removeprefix(prefix) for info in store.list(prefix)}


@pytest.mark.parametrize("before_deletion", [1, 2, 3])
def test_a_run_that_is_resumed_while_it_is_collected_loses_one_object_at_worst(store, held, before_deletion):
    fill_run(store, RUN)
    before = names(store, f"runs/{RUN}/als/")
    seen = Interleaved(
        store, lambda: held.enter_context(running(store, RUN)), before_deletion=before_deletion
    )
    report = collect(seen)
    left = names(store, f"runs/{RUN}/als/")
    assert len(before - left) == before_deletion
    assert "fit.json" not in left or {"U.npy", "V.npy"} <= left, "a finished fit has its factors"
    assert [item.target for item in report.items] == []


def test_a_run_that_is_resumed_while_another_is_collected_stays(store, held):
    fill_run(store, RUN)
    fill_run(store, OTHER_RUN)
    before = names(store, f"runs/{OTHER_RUN}/als/")
    report = collect(Interleaved(store, lambda: held.enter_context(running(store, OTHER_RUN))))
    assert [item.target for item in report.items] == [RUN]
    assert names(store, f"runs/{RUN}/") == set()
    assert names(store, f"runs/{OTHER_RUN}/als/") == before


def test_a_run_that_writes_again_after_its_lease_ran_out_stays(store):
    fill_run(store, RUN)
    fill_run(store, OTHER_RUN)
    collect(Interleaved(store, lambda: store.put_new(f"runs/{OTHER_RUN}/als/checkpoints/000006.npz", b"1")))
    assert names(store, f"runs/{RUN}/") == set()
    assert len(names(store, f"runs/{OTHER_RUN}/als/")) == 5


def test_an_orphan_that_is_registered_meanwhile_stays_whole(store, tmp_path):
    orphan = stage_model(store, "als", new_version(), write_model(tmp_path / "als"), facts={})

    def register():
        Registry(store).register(orphan, "als", data_version=OLD, run_id=RUN, metrics={})

    seen = Interleaved(store, register)
    assert collect(seen).items == ()
    assert seen.deleted == [model_prefix(orphan) + MANIFEST]
    assert Registry(store).verify() == []
    Registry(store).promote(orphan, reasons=["it is whole"])


def test_what_was_withdrawn_comes_back_when_nobody_can_be_asked(store, tmp_path):
    orphan = stage_model(store, "als", new_version(), write_model(tmp_path / "als"), facts={})
    seen = Interleaved(store, lambda: setattr(seen, "get", unreachable))
    registry = Registry(seen)
    with pytest.raises(StoreUnavailable):
        registry.gc(keep_versions=9, grace_hours=48, dry_run=False)
    assert MANIFEST in names(store, model_prefix(orphan))


def unreachable(*_):
    raise StoreUnavailable("gone")


def test_a_model_whose_run_is_resumed_is_not_retired(store, held, tmp_path):
    directory, registry = write_model(tmp_path / "als"), Registry(store)
    ids = {
        run: publish(registry, directory, run_id=run) for run in (OTHER_RUN, RUN, "r_cccccccccccc_33333333")
    }
    resumed = Interleaved(store, lambda: held.enter_context(running(store, OTHER_RUN, hours=24 * 9)))
    report = Registry(resumed).gc(
        keep_versions=1, grace_hours=48, dry_run=False, now=datetime.now(UTC) + timedelta(days=7)
    )
    assert [item.target for item in report.items] == [ids[RUN]]
    assert {entry.model_id for entry in registry.list()} == {*ids.values()} - {ids[RUN]}
    assert registry.verify() == []


def fill_version(store, version):
    for name in ("interactions.parquet", "manifest.json"):
        store.put_new(f"data/versions/{version}/{name}", b"1")


def collect_versions(seen):
    now = datetime.now(UTC)
    old = plan_retention(seen, keep_versions=1, cutoff=now - GRACE)
    return remove_versions(seen, old, lambda version: is_needed(seen, version, now))


@pytest.fixture
def versions(store):
    for version in (OLD, OTHER, NEW):
        fill_version(store, version)
    move_latest(store, NEW)
    return store


def test_a_data_version_that_becomes_the_latest_while_its_manifest_goes_stays_whole(versions):
    before = names(versions, f"data/versions/{OLD}/")
    removed = collect_versions(Interleaved(versions, lambda: move_latest(versions, OLD)))
    assert names(versions, f"data/versions/{OLD}/") == before
    assert [one.version for one in removed] == [OTHER]


def test_a_data_version_that_a_night_begins_with_meanwhile_stays_whole(versions, held):
    run = f"r_{'b' * 12}_11111111"
    removed = collect_versions(Interleaved(versions, lambda: held.enter_context(running(versions, run))))
    assert [one.version for one in removed] == [OLD]
    assert names(versions, f"data/versions/{OTHER}/") == {"interactions.parquet", "manifest.json"}


@pytest.fixture
def lists_store(request, tmp_path, monkeypatch):
    """Return a store with a champion that other openings of its URI see: a local one, unless "seaweedfs" is asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    local = store_with_champion(tmp_path / "store")
    if getattr(request, "param", "local") == "local":
        return local
    remote = open_store(request.getfixturevalue("s3").new_uri())
    for info in local.list():
        remote.put_new(info.key, local.get(info.key).data)
    return remote


def configured(k=10):
    return load_config(None, [f"recommend.k={k}", "recommend.rows_per_file=128"])


def collect_sets(seen, keep_sets=0):
    now = datetime.now(UTC)
    old = plan_set_retention(seen, keep_sets=keep_sets, cutoff=now - GRACE, now=now)
    return remove_sets(seen, old, cutoff=now - GRACE, now=now)


def latest_findings(store):
    """Return what is wrong with the set that latest.json names."""
    prefix = read_document(store, LATEST_KEY)["prefix"]
    manifest = read_set(store, prefix)
    return ["no manifest"] if manifest is None else set_findings(store, prefix, manifest)


@pytest.mark.parametrize(
    ("lists_store", "before_deletion"),
    [("local", 1), ("local", 2), ("local", 3), ("seaweedfs", 2)],
    indirect=["lists_store"],
)
def test_a_set_that_is_taken_up_while_it_is_collected_ends_whole(lists_store, before_deletion):
    lists = open_set(lists_store.uri, configured())
    for part in (0, 1):
        list_parts.write_part(lists, part)
    with ExitStack() as held:
        seen = Interleaved(
            lists_store, lambda: held.enter_context(lists.lease()), before_deletion=before_deletion
        )
        assert collect_sets(seen) == []
        assert len(seen.deleted) == before_deletion
        recommend_all(lists_store.uri, configured())
    assert latest_findings(lists_store) == []


@pytest.mark.parametrize("lists_store", ["local", "seaweedfs"], indirect=True)
def test_a_finished_set_that_becomes_the_latest_while_its_manifest_goes_stays_whole(lists_store):
    old = recommend_all(lists_store.uri, configured(k=3))
    recommend_all(lists_store.uri, configured())
    again = []
    seen = Interleaved(lists_store, lambda: again.append(recommend_all(lists_store.uri, configured(k=3))))
    assert collect_sets(seen) == []
    assert again[0]["reused"]
    assert read_document(lists_store, LATEST_KEY)["prefix"] == old["prefix"]
    assert latest_findings(lists_store) == []


def test_a_finished_set_is_held_while_it_is_looked_at(lists_store, monkeypatch):
    recommend_all(lists_store.uri, configured(k=3))
    recommend_all(lists_store.uri, configured())
    point_to = stage.point_to

    def collected_before(*arguments):
        assert collect_sets(Interleaved(lists_store)) == []
        point_to(*arguments)

    monkeypatch.setattr(stage, "point_to", collected_before)
    assert recommend_all(lists_store.uri, configured(k=3))["reused"]
    assert latest_findings(lists_store) == []


@pytest.mark.parametrize("name", ["part-00000.parquet", "part-00002.parquet"])
def test_no_manifest_is_written_over_a_file_that_went_meanwhile(lists_store, monkeypatch, name):
    """As of a collection that was held up between its question and its deletion."""
    write_lists = stage.write_lists
    late = []

    def then_deleted(lists, on_users=lambda _: None):
        written = write_lists(lists, on_users)
        if not late:
            late.append(name)
            lists_store.delete(f"{lists.prefix}/{name}")
        return written

    monkeypatch.setattr(stage, "write_lists", then_deleted)
    recommend_all(lists_store.uri, configured())
    assert late == [name]
    assert latest_findings(lists_store) == []
