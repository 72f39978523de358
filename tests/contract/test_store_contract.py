"""What every store promises, asked of each of them: memory, a local directory, SeaweedFS, and optionally Ceph."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recsys.errors import ObjectChanged, ObjectExists, ObjectNotFound, StoreError
from recsys.storage.base import Store
from recsys.storage.local import LocalStore
from recsys.storage.memory import MemoryStore
from recsys.storage.multipart import PART_BYTES
from recsys.storage.open import open_store
from recsys.storage.probe import ProbeResult, ensure_registry_safe, probe_conditional_writes
from recsys.storage.ranges import open_object

STORES = ["memory", "local", "seaweedfs", *(["other_s3"] if "RECSYS_TEST_S3_ENDPOINT" in os.environ else [])]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    server = request.getfixturevalue("s3" if request.param == "seaweedfs" else "other_s3")
    return open_store(server.new_uri())


def test_what_was_put_comes_back(store: Store) -> None:
    etag = store.put_new("a/b.json", b"content")
    stored = store.get("a/b.json")
    info = store.head("a/b.json")
    assert (stored.data, stored.etag) == (b"content", etag)
    assert info is not None
    assert (info.key, info.n_bytes, info.etag) == ("a/b.json", 7, etag)
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.sha256("a/b.json") == hashlib.sha256(b"content").hexdigest()


def test_ranges_of_an_object(store: Store) -> None:
    data = bytes(range(256)) * 5000
    store.put_new("ranges/all", data)
    store.put_new("ranges/all.more", b"another one")
    assert store.get_range("ranges/all", 0, 1) == data[:1]
    assert store.get_range("ranges/all", 1000, 70_000) == data[1000:71_000]
    assert store.get_range("ranges/all", len(data) - 3, 10) == data[-3:]
    with pytest.raises(ObjectNotFound, match="nothing/here"):
        store.get_range("nothing/here", 0, 1)
    with pytest.raises(ObjectNotFound, match="nothing/here"):
        store.get_range("nothing/here", 0, 0)
    store.put_new("ranges/empty", b"")
    for key, start, n_bytes in [
        ("ranges/all", len(data), 10),
        ("ranges/all", len(data) + 5, 10),
        ("ranges/all", 0, 0),
        ("ranges/all", 7, 0),
        ("ranges/empty", 0, 1),
    ]:
        assert store.get_range(key, start, n_bytes) == b"", (key, start, n_bytes)
    with open_object(store, "ranges/all") as stream:
        stream.seek(-5, os.SEEK_END)
        assert (stream.read(), stream.read(), stream.tell()) == (data[-5:], b"", len(data))
        stream.seek(700_000)
        assert stream.read(500_000) == data[700_000:1_200_000]
        stream.seek(0)
        assert stream.read() == data
    with pytest.raises(ObjectNotFound, match="ranges/al does not exist"):
        open_object(store, "ranges/al")


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put_new("empty", b"")
    assert store.get("empty").data == b""
    assert [info.n_bytes for info in store.list()] == [0]


def test_missing_objects(store: Store, tmp_path: Path) -> None:
    assert store.head("nothing/here") is None
    for read in (store.get, store.sha256, lambda key: store.get_file(key, tmp_path / "copy")):
        with pytest.raises(ObjectNotFound, match="nothing/here"):
            read("nothing/here")
    assert not (tmp_path / "copy").exists()
    store.delete("nothing/here")


def test_a_folder_is_no_object(store: Store) -> None:
    store.put_new("folder/object", b"1")
    assert store.head("folder") is None
    with pytest.raises(ObjectNotFound):
        store.get("folder")


def test_create_once_refuses_and_keeps_the_first_bytes(store: Store) -> None:
    etag = store.put_new("once", b"first")
    for data in (b"second", b"first"):
        with pytest.raises(ObjectExists, match="once"):
            store.put_new("once", data)
    assert store.get("once").data == b"first"
    assert store.get("once").etag == etag


def test_compare_and_swap_follows_the_etag(store: Store) -> None:
    first = store.put_new("pointer", b"1")
    second = store.put_if_match("pointer", b"2", first)
    assert second != first
    with pytest.raises(ObjectChanged, match="pointer"):
        store.put_if_match("pointer", b"3", first)
    assert (store.get("pointer").data, store.get("pointer").etag) == (b"2", second)


def test_compare_and_swap_on_a_missing_object_counts_as_changed(store: Store) -> None:
    etag = store.put_new("pointer", b"1")
    store.delete("pointer")
    with pytest.raises(ObjectChanged):
        store.put_if_match("pointer", b"2", etag)
    assert store.head("pointer") is None


def test_a_deleted_key_can_be_created_again(store: Store) -> None:
    store.put_new("deep/er/key", b"1")
    store.delete("deep/er/key")
    assert list(store.list()) == []
    store.put_new("deep/er/key", b"2")
    assert store.get("deep/er/key").data == b"2"


@pytest.mark.parametrize("n_bytes", [0, 5000, PART_BYTES + 12345], ids=["empty", "small", "multipart"])
def test_files_round_trip_and_are_created_once(store: Store, tmp_path: Path, n_bytes: int) -> None:
    source, copy = tmp_path / "source", tmp_path / "new" / "copy"
    source.write_bytes(bytes(i * 7 % 251 for i in range(5000)) * (n_bytes // 5000 + 1))
    with source.open("r+b") as stream:
        stream.truncate(n_bytes)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert store.put_file("model/U.npy", source) == sha256
    assert store.get_file("model/U.npy", copy) == sha256
    assert copy.read_bytes() == source.read_bytes()
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    source.write_bytes(b"x" * (n_bytes + 1))
    with pytest.raises(ObjectExists):
        store.put_file("model/U.npy", source)
    assert store.sha256("model/U.npy") == sha256


def test_getting_a_file_replaces_the_old_copy(store: Store, tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"older and longer")
    store.put_new("key", b"new")
    store.get_file("key", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"


def test_listing_is_by_prefix_and_in_key_order(store: Store) -> None:
    keys = ["log/00000002.json", "log/00000010.json", "log/00000001.json", "log-b/x", "logs", "a.b/c", "a/d"]
    for key in keys:
        store.put_new(key, key.encode())
    assert [info.key for info in store.list()] == sorted(keys)
    assert [info.key for info in store.list("log/")] == sorted(key for key in keys if key.startswith("log/"))
    assert [info.key for info in store.list("log")] == sorted(key for key in keys if key.startswith("log"))
    assert [info.key for info in store.list("log/0000001")] == ["log/00000010.json"]
    assert [info.n_bytes for info in store.list("a/")] == [3]
    assert list(store.list("nothing")) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a b", "~tmp", "a\n"])
def test_illegal_keys_are_refused_before_anything_happens(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="illegal"):
        store.put_new(key, b"")
    assert list(store.list()) == []


def test_stores_do_not_mind_dots_in_names(store: Store) -> None:
    store.put_new("recall@10/v=1+2_a-b.json", b"1")
    assert store.get("recall@10/v=1+2_a-b.json").data == b"1"


def test_of_many_creators_exactly_one_wins(store: Store) -> None:
    outcomes = _race(8, lambda me: store.put_new("race", me.encode()))
    winners = [me for me, error in outcomes.items() if error is None]
    assert len(winners) == 1
    assert store.get("race").data == winners[0].encode()
    assert all(isinstance(error, ObjectExists) for me, error in outcomes.items() if me not in winners)


def test_of_many_swappers_exactly_one_wins(store: Store) -> None:
    etag = store.put_new("race", b"start")
    outcomes = _race(8, lambda me: store.put_if_match("race", me.encode(), etag))
    winners = [me for me, error in outcomes.items() if error is None]
    assert len(winners) == 1
    assert store.get("race").data == winners[0].encode()
    assert all(isinstance(error, ObjectChanged) for me, error in outcomes.items() if me not in winners)


def test_the_probe_finds_the_promises_kept_and_leaves_nothing(store: Store) -> None:
    assert probe_conditional_writes(store) == ProbeResult(create_once=True, compare_and_swap=True)
    ensure_registry_safe(store)
    assert list(store.list()) == []


def test_a_second_handle_on_the_same_uri_sees_the_same_objects(store: Store) -> None:
    if isinstance(store, MemoryStore):
        pytest.skip("memory is not shared by URI")
    store.put_new("shared", b"1")
    assert open_store(store.uri).get("shared").data == b"1"


def _race(n_contenders: int, act: Callable[[str], object]) -> dict[str, StoreError | None]:
    """Let all contenders act at the same moment; return the error of each, None for success."""
    start = threading.Barrier(n_contenders)

    def contend(me: str) -> StoreError | None:
        start.wait()
        try:
            act(me)
        except StoreError as error:
            return error
        return None

    names = [f"contender-{number}" for number in range(n_contenders)]
    with ThreadPoolExecutor(n_contenders) as pool:
        return dict(zip(names, pool.map(contend, names), strict=True))
