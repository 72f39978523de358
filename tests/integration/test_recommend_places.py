"""Batch recommendations in S3, and after a power cut: the same bytes as undisturbed in a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from listed_models import parquet_of, store_with_champion
from servers import READER

from recsys.config.load import load_config
from recsys.errors import AccessDenied
from recsys.pipeline.list_set import LATEST_KEY, open_set
from recsys.pipeline.recommend_all import recommend_all
from recsys.storage.local import LocalStore
from recsys.storage.open import open_store

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal
from recsys.cli.main import run
from recsys.storage.local import LocalStore
put_new = LocalStore.put_new
def put_new_and_die(store, key, data):
    etag = put_new(store, key, data)
    if key.endswith("part-00002.json"):
        os.kill(os.getpid(), signal.SIGKILL)
    return etag
LocalStore.put_new = put_new_and_die
run()
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def moved(store, other):
    """Copy the registry of ``store`` into ``other``."""
    for info in store.list("registry/"):
        other.put_new(info.key, store.get(info.key).data)
    return other


def test_s3_gets_the_bytes_that_a_folder_gets(s3, tmp_path):
    store = store_with_champion(tmp_path / "store")
    remote = moved(store, open_store(s3.new_uri()))
    config = load_config(None, ["recommend.rows_per_file=128"])
    prefix = recommend_all(store.uri, config)["prefix"]
    assert recommend_all(remote.uri, config)["prefix"] == prefix
    assert parquet_of(remote, prefix) == parquet_of(store, prefix)
    assert remote.get(LATEST_KEY).data == store.get(LATEST_KEY).data
    assert recommend_all(remote.uri, config)["reused"]


@pytest.mark.parametrize("model", ["champion", "by id"])
def test_a_reader_gets_a_finished_set_and_makes_none(s3, tmp_path, monkeypatch, model):
    store = moved(store_with_champion(tmp_path / "store"), open_store(s3.new_uri()))
    config = load_config(None, ["recommend.rows_per_file=128"])
    made = recommend_all(store.uri, config)
    asked = made["model_id"] if model == "by id" else model
    before = {info.key for info in store.list()}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER[1])
    found = recommend_all(store.uri, config, model=asked, output=tmp_path / "copy")
    assert (found["set_id"], found["reused"]) == (made["set_id"], True)
    copied = {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()}
    assert copied.keys() == {"manifest.json", *(f"part-0000{part}.parquet" for part in range(3))}
    assert copied.items() <= parquet_of(store, made["prefix"]).items()
    with pytest.raises(AccessDenied, match="runs/l_"):  # before anything is computed
        recommend_all(store.uri, load_config(None, ["recommend.k=3"]), model=asked)
    assert {info.key for info in store.list()} == before


def test_a_killed_command_leaves_nothing_visible_and_its_files_are_kept(tmp_path):
    store = store_with_champion(tmp_path / "store", n_users=600)
    settings = ("recommend.rows_per_file=4",)  # 150 files: long enough to be killed in the middle
    config = load_config(None, settings)
    whole = moved(store, LocalStore(tmp_path / "whole"))
    prefix = open_set(store.uri, config).prefix
    process = subprocess.run(
        [sys.executable, "-c", KILLED, "recommend-all", "--store", store.uri, "--set", settings[0]],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    kept = parquet_of(store, prefix)
    assert 2 < len(kept) < 301, "killed in the middle"
    assert "manifest.json" not in kept
    assert store.head(LATEST_KEY) is None
    ages = {name: (tmp_path / "store" / prefix / name).stat().st_mtime_ns for name in kept}
    recommend_all(store.uri, config)
    recommend_all(whole.uri, config)
    assert parquet_of(store, prefix) == parquet_of(whole, prefix)
    for name in (name for name in kept if name.endswith(".json")):  # written after its Parquet file
        for file in (name, name.replace(".json", ".parquet")):
            assert (tmp_path / "store" / prefix / file).stat().st_mtime_ns == ages[file], "not computed again"
