"""Old data versions leave, and nothing that anybody needs."""

from datetime import UTC, datetime, timedelta

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.latest import move_latest
from recsys.cf.data.prepare import prepare
from recsys.cf.data.retention import plan_retention, remove_versions
from recsys.cf.data.version import list_versions, verify_version
from recsys.config.schema import DataConfig
from recsys.errors import StoreUnavailable
from recsys.storage.memory import MemoryStore

SOON = datetime.now(UTC) + timedelta(days=9)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Return a store with five versions of different seconds."""
    shop = write_demo_shop(tmp_path, size="small", seed=1, users=400, interactions=2_500)
    store, start = MemoryStore(), datetime(2026, 1, 1, tzinfo=UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return start + timedelta(days=night)

    monkeypatch.setattr("recsys.cf.data.prepare.datetime", Clock)
    for night in range(5):
        prepare(store, shop.reviews, None, DataConfig(max_users=100), seed=night)
    return store


def ids(store):
    return [summary.version for summary in list_versions(store)]


def planned(store, **options):
    return [one.version for one in plan_retention(store, **{"keep_versions": 1, "cutoff": SOON, **options})]


def test_the_oldest_go_first_and_the_newest_stay(store):
    versions = ids(store)
    assert planned(store, keep_versions=2) == versions[:3]
    assert planned(store, keep_versions=9) == []
    old = plan_retention(store, keep_versions=2, cutoff=SOON)
    remove_versions(store, old)
    assert ids(store) == versions[3:]
    assert all(verify_version(store, version) == [] for version in versions[3:])
    assert not [info for info in store.list("data/versions/") if versions[0] in info.key]


def test_latest_protected_and_young_versions_stay(store):
    versions = ids(store)
    move_latest(store, versions[1])
    assert planned(store, protected={versions[2]}) == [versions[0], versions[3]]
    assert planned(store, cutoff=datetime.now(UTC) - timedelta(hours=1)) == []


def test_a_version_that_became_the_latest_meanwhile_stays(store):
    versions = ids(store)
    old = plan_retention(store, keep_versions=1, cutoff=SOON)
    move_latest(store, versions[0])
    remove_versions(store, old)
    assert ids(store) == [versions[0], versions[4]]


def test_what_a_killed_removal_leaves_is_no_version_and_goes_next_time(store):
    versions = ids(store)
    old = plan_retention(store, keep_versions=4, cutoff=SOON)
    store.fail_next("delete", StoreUnavailable("gone"), skip=4)
    with pytest.raises(StoreUnavailable):
        remove_versions(store, old)
    assert ids(store) == versions[1:]
    (left,) = plan_retention(store, keep_versions=4, cutoff=SOON)
    assert (left.version, left.reason) == (versions[0], "never finished")
    remove_versions(store, [left])
    assert not [info for info in store.list("data/versions/") if versions[0] in info.key]


def test_files_of_other_people_stay(store):
    """As in a store that is a folder with other things in it: --store ."""
    theirs = ["data/versions/mine/reviews.csv", "data/versions/notes.txt", "data/versions/v_1/manifest.json"]
    for key in theirs:
        store.put_new(key, b"years of work")
    assert planned(store, keep_versions=9) == []
    remove_versions(store, plan_retention(store, keep_versions=1, cutoff=SOON))
    assert all(store.get(key).data == b"years of work" for key in theirs)


def test_a_version_that_is_needed_meanwhile_stays(store):
    versions = ids(store)
    old = plan_retention(store, keep_versions=1, cutoff=SOON)
    removed = remove_versions(store, old, lambda version: version == versions[2])
    assert [one.version for one in removed] == [versions[0], versions[1], versions[3]]
    assert verify_version(store, versions[2]) == []
