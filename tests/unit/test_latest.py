"""Where ``latest`` may go by itself: not to what was set aside by hand, not over what this code cannot judge."""

import json
import pickle
import shutil
from datetime import datetime

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.latest import LATEST_KEY, choose_latest, latest_version, move_latest
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.data.version import list_versions
from recsys.cli.main import run
from recsys.config.schema import DataConfig
from recsys.errors import DataValidationError, NewerSchema, OutcomeUnknown, StoreUnavailable
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore

FIRST, SECOND, THIRD = (DataConfig(min_item_positives=least) for least in (5, 3, 4))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_demo_shop(
        tmp_path_factory.mktemp("shop"), size="small", seed=1, users=400, interactions=2_500
    )


@pytest.fixture(scope="module")
def template(shop, tmp_path_factory):
    """Return (directory of a store, its two versions); the second is the latest."""
    store = LocalStore(tmp_path_factory.mktemp("template") / "store")
    return store.root, [made(store, shop, config).version for config in (FIRST, SECOND)]


@pytest.fixture
def store(template, tmp_path):
    return LocalStore(shutil.copytree(template[0], tmp_path / "store"))


@pytest.fixture
def versions(template):
    return template[1]


def made(store, shop, config, **more):
    return prepare(store, shop.reviews, None, config, seed=0, **more)


def set_latest(store, version):
    with pytest.raises(SystemExit) as done:
        run(["data", "set-latest", version, "--store", store.uri])
    assert done.value.code == 0


def pointer(store):
    return json.loads(store.get(LATEST_KEY).data)


def point(store, **document):
    """Put another pointer into a local store, as an earlier release or an accident may have left it."""
    (store.root / LATEST_KEY).write_text(json.dumps(document))


def rewrite_manifest(store, version, change):
    path = store.root / "data" / "versions" / version / "manifest.json"
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.chmod(0o644)
    path.write_text(json.dumps(document), "utf-8")


def in_the_future(monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2100, 1, 1, tzinfo=tz)

    monkeypatch.setattr("recsys.cf.data.prepare.datetime", Clock)


def test_a_repeated_preparation_does_not_undo_set_latest(store, versions, shop):
    first, second = versions
    set_latest(store, first)
    before = {info.key: info.etag for info in store.list()}
    again = made(store, shop, SECOND)
    assert (again.version, again.created, latest_version(store)) == (second, False, first)
    assert {info.key: info.etag for info in store.list()} == before
    assert f"{first} stays the latest: it was chosen by hand" in again.warnings[-1]
    assert f"`recsys data set-latest {second}`" in again.warnings[-1]
    assert load_processed_data(store).version == first


def test_a_repeated_append_does_not_undo_set_latest(shop, tmp_path):
    """The incremental night: the append finds what was set aside, made of the very version that is the latest."""
    store, (early, late) = LocalStore(tmp_path / "store"), parts(shop, tmp_path)
    first = prepare(store, early, None, FIRST, seed=0).version
    bad = prepare(store, late, None, FIRST, seed=0, append_to="latest").version
    set_latest(store, first)
    again = prepare(store, late, None, FIRST, seed=0, append_to="latest")
    assert (again.version, again.created, latest_version(store)) == (bad, False, first)
    assert f"{first} stays the latest: it was chosen by hand" in again.warnings[-1]


def parts(shop, folder):
    header, *lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    files = folder / "early.csv", folder / "late.csv"
    for file, some in zip(files, (lines[:1_800], lines[1_800:]), strict=True):
        file.write_text(header + "".join(some), "utf-8")
    return files


@pytest.mark.parametrize("to", [1, 0])
def test_set_latest_is_undone_by_set_latest(store, versions, shop, to):
    set_latest(store, versions[0])
    set_latest(store, versions[to])
    for config in (FIRST, SECOND):
        made(store, shop, config)
        assert latest_version(store) == versions[to]


def test_set_latest_to_what_is_the_latest_already_holds_it_there(store, versions, shop):
    """An earlier release moved the pointer back and left no mark."""
    point(store, version=versions[0])
    set_latest(store, versions[0])
    made(store, shop, SECOND)
    assert latest_version(store) == versions[0]


def test_a_pointer_without_a_mark_moves_forward_as_before(store, versions, shop):
    point(store, version=versions[0])
    assert made(store, shop, SECOND).warnings == ()
    assert pointer(store) == {"version": versions[1]}


def test_what_is_made_after_a_move_by_hand_becomes_the_latest_and_lifts_the_mark(store, versions, shop):
    set_latest(store, versions[0])
    third = made(store, shop, THIRD).version
    assert pointer(store) == {"version": third}


def test_a_run_killed_after_a_move_by_hand_is_completed_by_the_next(store, versions, shop, monkeypatch):
    set_latest(store, versions[0])
    in_the_future(monkeypatch)
    with monkeypatch.context() as broken:
        broken.setattr("recsys.cf.data.prepare.move_latest", unavailable)
        with pytest.raises(StoreUnavailable):
            made(store, shop, THIRD)
    assert latest_version(store) == versions[0]
    third = list_versions(store)[-1].version
    assert third not in versions
    again = made(store, shop, THIRD)
    assert (again.version, again.created, again.warnings) == (third, False, ())
    assert pointer(store) == {"version": third}


def unavailable(*_):
    raise StoreUnavailable("gone")


NEWER = {
    "same shape": lambda manifest: manifest.update(schema_version=3),
    "another shape": lambda manifest: manifest.update(
        schema_version=3, summary=[], created_at={"by": "night"}
    ),
}


@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_a_latest_of_a_newer_schema_stays(store, versions, shop, change):
    rewrite_manifest(store, versions[1], change)
    again = made(store, shop, FIRST)
    assert (again.version, again.created, latest_version(store)) == (versions[0], False, versions[1])
    assert f"{versions[1]} stays the latest" in again.warnings[-1]
    assert "schema version 3 is newer than this code knows: upgrade recsys" in again.warnings[-1]
    assert f"`recsys data set-latest {versions[0]}`" in again.warnings[-1]


def test_what_older_code_set_aside_stays_aside_for_newer_code(store, versions, shop):
    manifest = store.root / "data" / "versions" / versions[1] / "manifest.json"
    readable = manifest.read_bytes()
    rewrite_manifest(store, versions[1], NEWER["another shape"])
    set_latest(store, versions[0])
    manifest.write_bytes(readable)  # the same as newer code sees it
    made(store, shop, SECOND)
    assert latest_version(store) == versions[0]


def test_damage_to_what_was_chosen_by_hand_does_not_bring_back_what_was_set_aside(store, versions, shop):
    set_latest(store, versions[0])
    rewrite_manifest(store, versions[0], dict.clear)
    again = made(store, shop, SECOND)
    assert "chosen by hand" in again.warnings[-1]
    assert latest_version(store) == versions[0]
    healed = made(store, shop, FIRST)
    assert (healed.created, latest_version(store)) == (True, healed.version)


@pytest.mark.parametrize("mark", [None, 5, ["x"]])
def test_a_damaged_mark_hides_no_latest(store, versions, mark):
    point(store, version=versions[0], set_aside=mark)
    assert load_processed_data(store).version == versions[0]


def test_what_becomes_the_latest_during_a_move_by_hand_is_set_aside_too():
    store = MemoryStore()
    move_latest(store, "v_1")
    write = store.put_if_match

    def overtaken(key, data, etag):
        store.put_if_match = write
        move_latest(store, "v_3")
        return write(key, data, etag)

    store.put_if_match = overtaken
    choose_latest(store, "v_1", newest="v_2")
    assert pointer(store) == {"version": "v_1", "set_aside": "v_3"}


def test_a_lost_reply_of_a_move_by_hand_is_read_back():
    store = MemoryStore()
    move_latest(store, "v_3")
    store.fail_next("put_if_match", OutcomeUnknown("no reply"), after_commit=True)
    choose_latest(store, "v_1", newest="v_2")
    assert pointer(store) == {"version": "v_1", "set_aside": "v_3"}


def test_a_newer_schema_is_told_apart_in_other_processes_too(store, versions):
    rewrite_manifest(store, versions[1], NEWER["another shape"])
    with pytest.raises(DataValidationError) as caught:
        load_processed_data(store)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is NewerSchema
    assert (copy.message, copy.findings) == (caught.value.message, caught.value.findings)
