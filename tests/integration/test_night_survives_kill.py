"""A night that is killed or interrupted, then the same command again: the same champion, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killed_night import dying_command

from recsys.cf.data.demo import write_demo_shop
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = [
    # fixed settings and many small steps, so that there is time to be killed in
    *("--set", "als.preset=default", "--set", "als.iterations=40", "--set", "als.patience=40"),
    *("--set", "als.checkpoint_every=2", "--set", "bpr.preset=original", "--set", "bpr.epochs=60"),
    *("--set", "bpr.patience=60", "--set", "bpr.checkpoint_every=2", "--set", "bpr.validate_every=1"),
]


def recsys(*arguments):
    return start([sys.executable, "-c", "from recsys.cli.main import run; run()", *map(str, arguments)])


def start(command, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    )


def finish(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("raw")
    write_demo_shop(directory, size="small", seed=2)
    return directory


def prepared_store(raw, store):
    finish(recsys("prepare", raw / "reviews.csv", "--store", store, "--json"))
    return store


def night(store, out):
    return recsys("run", "--store", store, "--output", out, "--json", *SETTINGS)


def hashes(result):
    return {model: facts["factors_sha256"] for model, facts in result["models"].items()}


def visible_findings(store):
    """Return what verification finds in everything that a reader can see."""
    return list(Registry(LocalStore(store)).verify())


@pytest.fixture(scope="module")
def undisturbed(raw, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    return finish(night(prepared_store(raw, directory / "store"), directory / "out"))


def kill_when_written(process, store, wait_for):
    """Kill the night as soon as a file with this in its name is in the store; wait for its end."""
    deadline = time.monotonic() + 120
    places = [store / "runs", store / "registry"]
    while process.poll() is None and time.monotonic() < deadline:
        files = [
            str(path.relative_to(store)) for place in places for path in place.rglob("*") if path.is_file()
        ]
        if any(wait_for in name for name in files):
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("wait_for", ["als/checkpoints/", "bpr/checkpoints/", "fit.json", "manifest.json"])
def test_killed_night_ends_with_the_same_champion(raw, undisturbed, tmp_path, wait_for):
    for attempt in range(5):  # a loaded machine may look too late, when the night is over
        store = prepared_store(raw, tmp_path / f"store-{attempt}")
        process = night(store, tmp_path / "out")
        kill_when_written(process, store, wait_for)
        if process.returncode != 0:
            break
    assert process.returncode == -signal.SIGKILL, "the night was over before it could be killed"
    assert visible_findings(store) == []

    result = finish(night(store, tmp_path / "out"))
    assert hashes(result) == hashes(undisturbed)
    assert result["decision"]["promote"] == undisturbed["decision"]["promote"]
    state = Registry(LocalStore(store)).state()
    assert len(state.models) == 2, "a model was registered twice"
    if undisturbed["decision"]["promote"]:
        assert state.champion == result["decision"]["model_id"]
    assert visible_findings(store) == []


@pytest.mark.parametrize("program", ["run", "flow"])
def test_a_night_killed_after_its_promotion_ends_with_the_same_champion(raw, undisturbed, tmp_path, program):
    store, own = prepared_store(raw, tmp_path / "store"), {"RECSYS_STATE": str(tmp_path / "state")}
    arguments = ["--store", str(store), "--output", str(tmp_path / "out"), "--json", *SETTINGS]
    process = start(dying_command(program, *arguments), **own)
    _, err = process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL, err
    state = Registry(LocalStore(store)).state()
    assert state.champion is not None
    assert not list(store.glob("runs/*/result.json"))
    assert visible_findings(store) == []

    again = [sys.executable, "-m", "flows.train_cf"] if program == "flow" else None
    result = finish(start([*again, *arguments], **own) if again else recsys("run", *arguments))
    assert hashes(result) == hashes(undisturbed)
    assert result["decision"]["promote"]
    assert result["decision"]["champion"] == state.champion
    assert result["decision"]["champion"].split("_")[0] == undisturbed["decision"]["champion"].split("_")[0]
    after = Registry(LocalStore(store)).state()
    assert (after.champions, len(after.models)) == (state.champions, 2)


def test_rerun_of_a_finished_night_changes_nothing(raw, tmp_path):
    store = prepared_store(raw, tmp_path / "store")
    first = finish(night(store, tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    second = finish(night(store, tmp_path / "out"))
    assert second["reused"]
    assert second["models"].keys() == first["models"].keys()
    assert second["decision"] == first["decision"]
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()} == before


def test_ctrl_c_ends_a_night_at_once_and_it_goes_on_later(raw, undisturbed, tmp_path):
    store = prepared_store(raw, tmp_path / "store")
    process = night(store, tmp_path / "out")
    deadline = time.monotonic() + 120
    while not list(store.glob("runs/*/bpr/checkpoints/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "run it again" in err
    assert hashes(finish(night(store, tmp_path / "out"))) == hashes(undisturbed)
