"""What is special about the local store: processes, killed writers, full disks, files that are no objects."""

import errno
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from recsys.errors import AccessDenied, ConfigError, ObjectExists, ObjectNotFound, StoreError, StoreFull
from recsys.storage import files
from recsys.storage.local import LocalStore
from recsys.storage.open import open_store

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def files_in(store: LocalStore) -> list[str]:
    return sorted(path.name for path in store.root.rglob("*") if path.is_file() and path.name != "~lock")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("operation", ["put_new", "put_if_match", "put_file", "get_file"])
def test_a_full_disk_loses_nothing_and_leaves_nothing(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, code: int
) -> None:
    etag = store.put_new("models/old", b"old")
    (tmp_path / "source").write_bytes(b"new")

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", full)
    attempts = {
        "put_new": lambda: store.put_new("models/new", b"new"),
        "put_if_match": lambda: store.put_if_match("models/old", b"new", etag),
        "put_file": lambda: store.put_file("models/new", tmp_path / "source"),
        "get_file": lambda: store.get_file("models/old", store.root / "copy"),
    }
    with pytest.raises(StoreFull, match="free some space"):
        attempts[operation]()
    monkeypatch.undo()
    assert files_in(store) == ["old"]
    assert store.get("models/old").data == b"old"


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A file-size limit of the process stands for the disk: the kernel refuses in the middle of the write."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from recsys.errors import StoreFull; from recsys.storage.local import LocalStore\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: LocalStore(Path(sys.argv[1])).put_new('a/big', b'x' * 5000)\n"
        "except StoreFull: sys.exit(7)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 7
    assert files_in(LocalStore(tmp_path)) == []


def test_a_killed_writer_leaves_only_what_sweep_finds(store: LocalStore) -> None:
    store.put_new("models/old", b"old")
    code = (
        "import os, sys; from pathlib import Path; from recsys.storage import files, local\n"
        "def die(*args): print('ready', flush=True); import time; time.sleep(60)\n"
        "local.os.link = die\n"
        "local.LocalStore(Path(sys.argv[1])).put_new('models/new', b'new')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, store.uri], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert [info.key for info in store.list()] == ["models/old"]
    assert store.head("models/new") is None
    assert len(files_in(store)) == 2
    assert store.sweep(datetime.now(UTC) - timedelta(hours=1), dry_run=False) == []
    leftovers = store.sweep(LATER, dry_run=True)
    assert len(leftovers) == 1
    assert len(files_in(store)) == 2
    assert store.sweep(LATER, dry_run=False) == leftovers
    assert files_in(store) == ["old"]
    store.put_new("models/new", b"new")


def test_a_killed_holder_of_the_lock_holds_it_no_longer(store: LocalStore) -> None:
    etag = store.put_new("pointer", b"1")
    code = (
        "import sys, time; from pathlib import Path; from recsys.storage.local import LocalStore\n"
        "with LocalStore(Path(sys.argv[1]))._lock(): print('locked', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, store.uri], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    process.kill()
    process.wait()
    process.stdout.close()
    started = time.monotonic()
    store.put_if_match("pointer", b"2", etag)
    assert time.monotonic() - started < 30, "the dead holder would have slept 60 s"


def test_files_that_are_no_objects_are_not_listed(store: LocalStore) -> None:
    store.put_new("a/object", b"1")
    (store.root / "a" / "a note of somebody.txt").write_text("hello")
    (store.root / "a" / "~0123").write_text("half")
    assert [info.key for info in store.list()] == ["a/object"]


def test_an_object_where_a_folder_is_needed(store: LocalStore) -> None:
    store.put_new("a", b"1")
    with pytest.raises(StoreError, match="a/b"):
        store.put_new("a/b", b"2")
    with pytest.raises(ObjectNotFound):
        store.get("a/b")
    assert store.get("a").data == b"1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(store: LocalStore) -> None:
    store.put_new("a/object", b"1")
    (store.root / "a").chmod(0o500)
    with pytest.raises(AccessDenied, match="owner"):
        store.put_new("a/other", b"1")


def test_a_missing_source_file_is_named(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="model/U"):
        store.put_file("model/U", tmp_path / "absent")
    assert files_in(store) == []


def test_creating_while_others_delete_in_the_same_folder(store: LocalStore) -> None:
    """A delete prunes empty folders, which a create must survive."""
    code = (
        "import sys; from pathlib import Path; from recsys.storage.local import LocalStore\n"
        "store = LocalStore(Path(sys.argv[1]))\n"
        "for i in range(150):\n"
        "    store.put_new(f'x/y/{sys.argv[2]}-{i}', b'1'); store.delete(f'x/y/{sys.argv[2]}-{i}')\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, store.uri, name]) for name in "ab"]
    assert [worker.wait(240) for worker in workers] == [0, 0]
    assert files_in(store) == []


def test_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a store"
    for uri in (str(path), f"file://{path}".replace(" ", "%20")):
        opened = open_store(uri)
        assert isinstance(opened, LocalStore)
        assert opened.root == path
        assert open_store(opened.uri).uri == opened.uri
    monkeypatch.setenv("RECSYS_STORE", str(path))
    assert open_store().uri == str(path)
    monkeypatch.chdir(tmp_path)
    assert open_store("there").uri == str(tmp_path / "there")
    for uri in ("gs://bucket", "s3://", "file://otherhost/x"):
        with pytest.raises(ConfigError, match="s3://bucket/prefix"):
            open_store(uri)


def test_creating_once_is_atomic_without_looking_first(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the early look misses a rival, the link does not overwrite."""
    store.put_new("key", b"rival")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    with pytest.raises(ObjectExists):
        store.put_new("key", b"mine")
    assert store.get("key").data == b"rival"
    assert files_in(store) == ["key"]
