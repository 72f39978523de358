"""Local copies of data versions: old ones leave, those being read stay, maps outlive their files."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from contextlib import ExitStack

import numpy as np
import pytest

from recsys.cf.data.host_copies import VERSIONS_KEPT, host_copy, remove_old_copies
from recsys.cf.data.npz import read_arrays, write_arrays
from recsys.errors import AccessDenied, StoreError

VERSIONS = V1, V2, V3, V4, V5, V6 = [f"v_2026010{day}T020000Z_{day:012x}" for day in range(1, 7)]


def fill(cache, *versions):
    for age, version in enumerate(reversed(versions)):
        (cache / version).mkdir(parents=True)
        (cache / version / "file").write_text(version)
        os.utime(cache / version, (1e9 - age, 1e9 - age))


def left(cache):
    return sorted(path.name for path in cache.iterdir())


def test_the_versions_used_last_stay(tmp_path):
    fill(tmp_path, V1, V2, V3, V4, V5)
    with host_copy(tmp_path, V1) as folder:
        assert folder == tmp_path / V1
        assert len(left(tmp_path)) == 5  # nothing leaves while a version is opened
    assert left(tmp_path) == [V1, V4, V5]
    assert VERSIONS_KEPT == 3
    with host_copy(tmp_path, V6):
        pass
    assert left(tmp_path) == [V1, V5, V6]  # v1 was used after v4


def test_the_version_asked_for_stays_however_old_its_time_is(tmp_path):
    fill(tmp_path, V1, V2)
    assert remove_old_copies(tmp_path, keep=V1, most=1) == [V2]
    assert left(tmp_path) == [V1]


def test_a_version_that_another_process_reads_stays(tmp_path):
    fill(tmp_path, V1, V2, V3, V4)
    reader = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from recsys.cf.data.host_copies import host_copy\n"
            "with host_copy(Path(sys.argv[1]), sys.argv[2]) as folder:\n"
            "    print('reading', flush=True); sys.stdin.read(); print((folder / 'file').read_text())",
            str(tmp_path),
            V1,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "reading\n"
    os.utime(tmp_path / V1, (1, 1))
    assert remove_old_copies(tmp_path, keep=V4, most=2) == [V2]
    assert left(tmp_path) == [V1, V3, V4]
    assert reader.communicate("")[0] == f"{V1}\n"
    assert reader.returncode == 0


def test_what_a_killed_cleaner_left_leaves(tmp_path):
    fill(tmp_path, V1)
    half = tmp_path / ("~" + 32 * "a")
    half.mkdir()
    (half / "file").write_text("x")
    assert remove_old_copies(tmp_path, keep=V1) == []
    assert left(tmp_path) == [V1]


def test_folders_of_other_people_stay(tmp_path):
    """As in RECSYS_STATE=. of a project with a folder data."""
    theirs = ["raw", "images", "~backup", "v1", "als_20260101T020000Z_00000000-0000000000000000"]
    fill(tmp_path, V1, V2, *theirs)
    assert remove_old_copies(tmp_path, keep=V1, most=1) == [V2]
    assert left(tmp_path) == sorted([V1, *theirs])


def test_a_folder_that_a_reader_made_in_place_of_a_removed_one_stays(tmp_path, monkeypatch):
    """Of two cleaners that have opened an old folder, the slower one meets a new one under its name."""
    fill(tmp_path, V1, V2)
    real_flock, readers = fcntl.flock, ExitStack()

    def overtaken(descriptor, operation):
        if operation & fcntl.LOCK_EX:
            monkeypatch.setattr(fcntl, "flock", real_flock)
            (tmp_path / V1).rename(tmp_path / "removed by the quicker one")
            readers.enter_context(host_copy(tmp_path, V1))
        real_flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    with readers:
        assert remove_old_copies(tmp_path, keep=V2, most=1) == []
        assert (tmp_path / V1).is_dir()


def test_a_removed_map_stays_readable(tmp_path):
    fill(tmp_path, V1, V2)
    write_arrays(tmp_path / V1 / "a.npz", {"a": np.arange(5)})
    mapped = read_arrays(tmp_path / V1 / "a.npz")["a"]
    assert remove_old_copies(tmp_path, keep=V2, most=1) == [V1]
    assert mapped.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("most", [0, 1])
def test_openers_and_cleaners_at_once_never_lose_a_file_that_is_being_read(tmp_path, most):
    """Each opener must find the folder it was given until it leaves it, whatever cleaners do."""
    stop, failures = threading.Event(), []

    def clean():
        while not stop.is_set():
            remove_old_copies(tmp_path, keep="none", most=most)

    def read(version):
        try:
            for turn in range(150):
                with host_copy(tmp_path, version) as folder:
                    (folder / f"{turn}").write_text(version)
                    assert (folder / f"{turn}").read_text() == version
        except (OSError, AssertionError, StoreError) as error:
            failures.append(error)

    tmp_path.mkdir(exist_ok=True)
    cleaners = [threading.Thread(target=clean) for _ in range(2)]
    readers = [threading.Thread(target=read, args=(VERSIONS[number],)) for number in range(3)]
    for thread in (*cleaners, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    for thread in cleaners:
        thread.join()
    assert failures == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/v1: Not a directory"), host_copy(tmp_path / "file", "v1"):
        pass


@pytest.mark.parametrize("call", ["os.open", "os.utime", "fcntl.flock"])
def test_a_file_system_that_refuses_is_told_as_a_store_would(tmp_path, monkeypatch, call):
    def refuse(*_args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(f"recsys.cf.data.host_copies.{call}", refuse)
    with pytest.raises(AccessDenied, match="v1: Permission denied"), host_copy(tmp_path, "v1"):
        pass


def test_an_error_of_the_reader_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), host_copy(tmp_path, "v1") as folder:
        (folder / "absent").read_text()


def test_a_link_to_nothing_is_told_and_not_waited_for(tmp_path):
    (tmp_path / "v1").symlink_to(tmp_path / "absent")
    code = (
        "import sys; from pathlib import Path\n"
        "from recsys.cf.data.host_copies import host_copy\n"
        "with host_copy(Path(sys.argv[1]), 'v1'): pass"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "recsys.errors.StoreError" in done.stderr
    assert "v1: File exists" in done.stderr


def test_a_folder_that_may_not_be_opened_stays(tmp_path, monkeypatch):
    fill(tmp_path, V1, V2)

    def refuse(*_args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("recsys.cf.data.host_copies.os.open", refuse)
    assert remove_old_copies(tmp_path, keep=V2, most=1) == []
    assert left(tmp_path) == [V1, V2]
