"""Servers of one host, each a process, that follow promotions through one cache of models."""

import os
import subprocess
import sys
import time

import pytest
from sample_models import publish, write_model

from recsys.registry import load_champion
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

N_SERVERS, N_PROMOTIONS = 4, 5
DAY = 86_400
SERVER = """
import sys
from pathlib import Path
from recsys.registry import load_champion
from recsys.storage.local import LocalStore

serving = load_champion(LocalStore(Path(sys.argv[1])), cache_dir=Path(sys.argv[2]))
print(serving.model_id, flush=True)
for _ in sys.stdin:
    try:
        serving.refresh()
        serving.recommend("u0", 1)
        print(serving.model_id, flush=True)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.fixture
def registry(tmp_path):
    registry = Registry(LocalStore(tmp_path / "store"))
    promote_another(registry, tmp_path, 0)
    return registry


def promote_another(registry, tmp_path, number):
    model_id = publish(registry, write_model(tmp_path / f"model{number}", scale=1.0 + number))
    registry.promote(model_id, reasons=["better"])
    return model_id


def fill_with_old_copies(cache, number):
    """Make every copy one that was used long ago, and add so many that removing them takes a while."""
    for i in range(30):
        stale = cache / f"als_20200101T0000{number:02d}Z_{i:08x}-{i:016x}"
        stale.mkdir()
        for j in range(20):
            (stale / f"{j}").write_bytes(b"x")
    for copy in cache.iterdir():
        os.utime(copy, (1, 1))


def test_servers_that_refresh_after_the_same_promotion_all_follow_it(registry, tmp_path):
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", SERVER, registry.store.uri, str(cache)]
    servers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(N_SERVERS)
    ]
    try:
        told = [[server.stdout.readline().strip() for server in servers]]
        promoted = [registry.show("champion").model_id]
        for number in range(1, N_PROMOTIONS + 1):
            promoted.append(promote_another(registry, tmp_path, number))
            fill_with_old_copies(cache, number)
            for server in servers:
                server.stdin.write("refresh\n")
                server.stdin.flush()
            told.append([server.stdout.readline().strip() for server in servers])
    finally:
        for server in servers:
            server.communicate()
    assert told == [[model_id] * N_SERVERS for model_id in promoted]
    names = [path.name for path in cache.iterdir()]
    assert [name for name in names if name.startswith("~")] == []
    assert len(names) == 3, "old copies left"


def test_a_copy_that_another_process_removes_is_fetched_again(registry, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    load_champion(registry.store, cache_dir=cache)
    (copy,) = cache.iterdir()
    real_utime = os.utime

    def removed_meanwhile(path, *arguments):
        if path == copy:
            monkeypatch.setattr(os, "utime", real_utime)
            copy.rename(tmp_path / "away")
        real_utime(path, *arguments)

    monkeypatch.setattr(os, "utime", removed_meanwhile)
    assert load_champion(registry.store, cache_dir=cache).recommend("u0", 1)
    assert (tmp_path / "away").is_dir()


def test_a_copy_that_somebody_is_about_to_open_stays(registry, tmp_path):
    """One that was verified just now, though newer ones are there."""
    cache = tmp_path / "cache"
    for number in range(1, 6):
        load_champion(registry.store, cache_dir=cache)
        promote_another(registry, tmp_path, number)
    assert len(list(cache.iterdir())) == 5
    fill_with_old_copies(cache, 9)
    load_champion(registry.store, cache_dir=cache)
    assert len(list(cache.iterdir())) == 3


def test_killed_downloads_go_and_files_of_other_people_stay(registry, tmp_path):
    """The cache may be a directory that holds other things: cache_dir="."."""
    cache = tmp_path / "cache"
    theirs = ["~backup", "notes", "images", "src", "v_20260101T000000Z_aaaaaaaaaaaa"]
    theirs += [f"als_2026112{n}T020000Z_0badcafe-backup_of_monday" for n in range(4)]  # as long as a hash
    killed, downloading = "~" + "a" * 32, "~" + "b" * 32
    for name in (*theirs, killed, downloading):
        (cache / name).mkdir(parents=True)
        (cache / name / "file").write_text("x")
        age = 60 if name == downloading else 2 * DAY
        os.utime(cache / name, (time.time() - age,) * 2)
    load_champion(registry.store, cache_dir=cache)
    left = {
        path.name for path in cache.iterdir() if not path.name.startswith("als_") or "monday" in path.name
    }
    assert left == {*theirs, downloading}
