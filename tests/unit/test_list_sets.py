"""Sets of recommendations at bad moments: foreign directories, a newer champion, damage; how models are read."""

import json
import mmap
import os

import numpy as np
import pytest
from listed_models import parquet_of, random_model, store_with_champion
from sample_models import publish

from recsys.cf.data.npz import write_arrays
from recsys.config.load import load_config
from recsys.errors import ConfigError, IntegrityError, StoreUnavailable
from recsys.pipeline import list_parts
from recsys.pipeline.list_model import open_list_model
from recsys.pipeline.list_set import LATEST_KEY, open_set, point_to, read_set
from recsys.pipeline.recommend_all import finished_set, recommend_all, write_lists
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path):
    return store_with_champion(tmp_path / "store")


def made(store, *, rows_per_file=128, **more):
    return recommend_all(store.uri, configured(rows_per_file), **more)


def configured(rows_per_file=128):
    return load_config(None, [f"recommend.rows_per_file={rows_per_file}"])


def test_a_copy_touches_nothing_but_what_an_earlier_copy_left(store, tmp_path):
    out = tmp_path / "copy"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    (out / "part-00007.parquet").write_text("somebody else's")
    for rows_per_file, n_files in ((100, 3), (300, 1)):
        made(store, rows_per_file=rows_per_file, output=out)
        named = [entry["name"] for entry in json.loads((out / "manifest.json").read_bytes())["files"]]
        assert len(named) == n_files
        there = {path.name for path in out.iterdir()}
        assert there == {*named, "manifest.json", "thesis.txt", "part-00007.parquet"}
    assert (out / "thesis.txt").read_text() == "years of work"
    assert (out / "part-00007.parquet").read_text() == "somebody else's"


@pytest.mark.parametrize(
    "foreign",
    [
        b'{"name": "my web app", "icons": []}',
        b'{"model_id": "als_1", "files": [], "facts": {}}',
        b'{"set_id": "l_1", "model_id": "als_1", "settings": {}, "files": 3}',
        b"[1, 2]",
        b"not JSON",
        b"\xff\xfe",
    ],
)
def test_a_manifest_of_something_else_is_refused_before_anything_is_computed(store, tmp_path, foreign):
    out = tmp_path / "app"
    out.mkdir()
    (out / "manifest.json").write_bytes(foreign)
    with pytest.raises(ConfigError, match=r"app holds a manifest\.json that is not of a set"):
        made(store, output=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"manifest.json": foreign}
    assert not list(store.list("recommendations/"))


def test_a_manifest_that_came_while_lists_were_computed_stays(store, tmp_path, monkeypatch):
    out = tmp_path / "app"
    compute = list_parts.compute_lists

    def meanwhile(*arguments, **more):
        out.mkdir(exist_ok=True)
        (out / "manifest.json").write_text("mine")
        return compute(*arguments, **more)

    monkeypatch.setattr(list_parts, "compute_lists", meanwhile)
    with pytest.raises(ConfigError, match="not of a set"):
        made(store, output=out)
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert (out / "manifest.json").read_text() == "mine"


def test_an_output_that_cannot_be_a_directory_is_refused_before_anything_is_computed(store, tmp_path):
    file, link = tmp_path / "thesis.txt", tmp_path / "link"
    file.write_text("years of work")
    link.symlink_to(tmp_path / "nowhere")
    for output in (file, file / "deeper" / "still", link):
        with pytest.raises(ConfigError, match="name a directory that can be written"):
            made(store, output=output)
    assert file.read_text() == "years of work"
    assert not list(store.list("recommendations/"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_that_may_not_be_written_is_refused_before_anything_is_computed(store, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for output in (closed, closed / "new" / "lists"):
        with pytest.raises(ConfigError, match="name a directory that can be written"):
            made(store, output=output)
    assert not list(store.list("recommendations/"))


def test_a_refused_or_failed_command_leaves_no_empty_directory(store, tmp_path, monkeypatch):
    monkeypatch.setattr(list_parts, "compute_lists", unreachable)
    with pytest.raises(StoreUnavailable):
        made(store, output=tmp_path / "new" / "lists")
    assert not (tmp_path / "new").exists()


def unreachable(*_, **__):
    raise StoreUnavailable("gone")


def test_an_old_attempt_does_not_take_latest_back_from_a_newer_champion(store, tmp_path):
    first = made(store)
    slow = open_set(store.uri, configured())
    candidate = publish(Registry(store), random_model(tmp_path / "candidate", 20, 30, seed=5))
    Registry(store).promote(candidate, reasons=["better"])
    second = made(store)
    assert finished_set(slow)["prefix"] == first["prefix"]
    assert json.loads(store.get(LATEST_KEY).data)["prefix"] == second["prefix"]
    Registry(store).rollback("worse after all")
    assert made(store)["reused"]
    assert json.loads(store.get(LATEST_KEY).data)["prefix"] == first["prefix"]


def test_the_champion_is_asked_again_when_latest_changed_meanwhile(store, tmp_path, monkeypatch):
    made(store, rows_per_file=64)
    made(store)
    slow = open_set(store.uri, configured(64))
    candidate = publish(Registry(store), random_model(tmp_path / "candidate", 20, 30, seed=5))
    put = LocalStore.put_if_match
    newer = []

    def overtaken(self, key, data, etag):
        if key == LATEST_KEY and not newer:
            newer.append(True)
            Registry(store).promote(candidate, reasons=["better"])
            newer.append(made(store)["prefix"])
        return put(self, key, data, etag)

    monkeypatch.setattr(LocalStore, "put_if_match", overtaken)
    point_to(slow, read_set(store, slow.prefix))
    assert json.loads(store.get(LATEST_KEY).data)["prefix"] == newer[1]


def rot(store, key):
    store.delete(key)
    store.put_new(key, b"rotten")


def test_latest_leads_to_a_manifest_while_a_damaged_set_is_made_again(store, monkeypatch):
    prefix = made(store)["prefix"]
    good = parquet_of(store, prefix)
    rot(store, f"{prefix}/part-00001.parquet")
    with monkeypatch.context() as broken:
        broken.setattr(list_parts, "compute_lists", unreachable)
        with pytest.raises(StoreUnavailable):
            made(store)
    named = json.loads(store.get(LATEST_KEY).data)["prefix"]
    assert store.head(f"{named}/manifest.json") is not None
    assert not made(store)["reused"]
    assert parquet_of(store, prefix) == good


def with_other_bytes(lists_frame):
    """As another version of polars would write them: the same lists, other files."""
    return lambda *arguments: lists_frame(*arguments).sort("user_id", descending=True)


def test_a_mended_set_whose_files_have_other_bytes_gets_their_manifest(store, monkeypatch):
    prefix = made(store)["prefix"]
    before = read_set(store, prefix)
    rot(store, f"{prefix}/part-00001.parquet")
    monkeypatch.setattr(list_parts, "lists_frame", with_other_bytes(list_parts.lists_frame))
    assert not made(store)["reused"]
    after = read_set(store, prefix)
    assert [ours == theirs for ours, theirs in zip(before["files"], after["files"], strict=True)] == [
        True,
        False,
        True,
    ]
    assert made(store)["reused"], "the new manifest fits all files"


def test_an_intact_set_keeps_its_manifest_from_an_attempt_with_other_bytes(store, monkeypatch):
    prefix = made(store)["prefix"]
    published = store.get(f"{prefix}/manifest.json").data
    lists = open_set(store.uri, configured())
    entries, _ = write_lists(lists)
    other = [{**entries[0], "sha256": "0" * 64}, *entries[1:]]
    monkeypatch.setattr("recsys.pipeline.recommend_all.finished_set", lambda _: None)
    monkeypatch.setattr("recsys.pipeline.recommend_all.write_lists", lambda *_: (other, 300))
    with pytest.raises(IntegrityError, match="another attempt"):
        made(store)
    assert store.get(f"{prefix}/manifest.json").data == published


def owner(array):
    """Return the map whose memory this is; None for an array in memory of its own."""
    base = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


@pytest.mark.parametrize("mapped", [True, False])
def test_seen_items_are_mapped_where_the_file_allows_it_and_aligned_always(store, tmp_path, mapped):
    files = random_model(tmp_path / "candidate", 300, 80, seed=0)  # the champion's factors
    with np.load(files / "seen_items.npz") as archive:
        arrays = dict(archive)
    if mapped:
        write_arrays(files / "seen_items.npz", arrays)
    entry = Registry(store).show(publish(Registry(store), files))
    seen = open_list_model(store.uri, entry.model_id, entry.manifest_sha256).seen
    for name, array in (("indptr", seen.indptr), ("indices", seen.indices)):
        np.testing.assert_array_equal(array, arrays[name])
        assert array.flags.aligned
        assert (owner(array) is not None) == mapped
    if mapped:  # kernels take arrays that are read-only
        lists = [parquet_of(store, made(store, model=one)["prefix"]) for one in ("champion", entry.model_id)]
        assert lists[0]["part-00000.parquet"] == lists[1]["part-00000.parquet"]


def test_damaged_seen_items_are_an_integrity_error(store, tmp_path):
    files = random_model(tmp_path / "candidate", 20, 30, seed=5)
    (files / "seen_items.npz").write_bytes(b"PK\x03\x04 cut off")
    candidate = publish(Registry(store), files)
    with pytest.raises(IntegrityError, match=r"seen_items\.npz"):
        made(store, model=candidate)
