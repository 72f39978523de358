"""Temporary folders: gone on leaving, gone after a kill, never taken from under a living process."""

import ast
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import recsys
from recsys.cf.models.base import Checkpoint
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.errors import StoreError
from recsys.pipeline.fit_files import put_factors
from recsys.storage.memory import MemoryStore
from recsys.storage.scratch import scratch_folder, sweep_scratch
from recsys.types import Factors

HOLD = """
import sys
from recsys.storage.scratch import scratch_folder
with scratch_folder("test") as folder:
    (folder / "file").write_text("content")
    print(folder, flush=True)
    sys.stdin.read()
    print((folder / "file").read_text(), flush=True)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what tempfile remembers of the environment
    yield tmp_path
    tempfile.tempdir = None


def holder():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HOLD], text=True, env=dict(os.environ), **pipes)


def names(place):
    return sorted(path.name for path in place.iterdir())


def test_a_folder_is_empty_private_and_gone_on_leaving(place):
    with scratch_folder("one") as folder:
        assert folder.parent == place
        assert list(folder.iterdir()) == []
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "below").mkdir()
        (folder / "below" / "file").write_text("x")
        assert sweep_scratch() == [], "this process works in it"
    assert names(place) == []


def test_what_a_killed_process_left_leaves_with_the_next_folder_and_a_living_one_stays(place):
    with holder() as killed, holder() as alive:
        folders = [process.stdout.readline().rstrip().rpartition("/")[2] for process in (killed, alive)]
        (place / "train-cf-scratch-ffffffff-of-another-boot").mkdir()
        (place / "somebody-elses").mkdir()
        killed.kill()
        killed.wait()
        assert folders[0] in names(place)
        with scratch_folder("next"):
            assert folders[0] not in names(place)
            assert folders[1] in names(place)
        assert alive.communicate("")[0] == "content\n"
    assert names(place) == ["somebody-elses", "train-cf-scratch-ffffffff-of-another-boot"]


def test_a_link_of_that_name_is_not_followed(place):
    with scratch_folder("name") as folder:
        name = folder.name
    (place / "precious").mkdir()
    (place / name).symlink_to(place / "precious", target_is_directory=True)
    assert sweep_scratch() == []
    assert (place / "precious").is_dir()


def test_makers_and_sweepers_at_once_never_lose_a_folder(place):
    stop, failures = threading.Event(), []

    def sweep():
        while not stop.is_set():
            sweep_scratch()

    def work():
        try:
            for turn in range(100):
                with scratch_folder("turn") as folder:
                    (folder / "file").write_text(str(turn))
                    assert (folder / "file").read_text() == str(turn)
        except (OSError, AssertionError, StoreError) as error:
            failures.append(error)

    sweepers = [threading.Thread(target=sweep) for _ in range(2)]
    workers = [threading.Thread(target=work) for _ in range(3)]
    for thread in (*sweepers, *workers):
        thread.start()
    for thread in workers:
        thread.join()
    stop.set()
    for thread in sweepers:
        thread.join()
    assert failures == []
    assert names(place) == []


def test_a_temporary_directory_that_is_gone_is_told(place):
    tempfile.gettempdir()  # remembers it
    place.rmdir()
    with pytest.raises(StoreError, match="temporary directory"), scratch_folder("none"):
        pass
    place.mkdir()


def test_checkpoints_and_factors_go_through_such_folders(place):
    """Each leaves with nothing behind, and takes what a killed one left along."""
    factors = np.ones((3, 2), np.float32)
    for write in (
        lambda: StoreCheckpoints(MemoryStore(), "runs/r").save(Checkpoint(1, {"user_factors": factors}, {})),
        lambda: put_factors(MemoryStore(), "runs/r", Factors(factors, factors)),
    ):
        with holder() as killed:
            assert killed.stdout.readline()
            killed.kill()
        assert len(names(place)) == 1
        write()
        assert names(place) == []


def test_whatever_is_put_into_the_temporary_directory_is_a_scratch_folder():
    """Others, with dir=, stand beside what they become and have sweepers of their own."""
    made = [
        f"{path.name}:{call.lineno}"
        for path in sorted(Path(recsys.__file__).parent.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and ast.unparse(call.func).split(".")[-1] in ("TemporaryDirectory", "mkdtemp")
        and not any(keyword.arg == "dir" for keyword in call.keywords)
    ]
    assert [place.split(":")[0] for place in made] == ["scratch.py"], made
