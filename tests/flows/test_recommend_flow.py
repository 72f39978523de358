"""The flow recommend-all: on the embedded default, and started on a real server when the champion changes."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from listed_models import parquet_of, random_model, store_with_champion
from prefect_servers import LONG_ENOUGH_SECONDS, deploy, running_prefect, until
from sample_models import publish

from recsys.config.load import load_config
from recsys.pipeline.list_set import LATEST_KEY
from recsys.pipeline.recommend_all import recommend_all
from recsys.registry.catalogue import Registry

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "tests" / "network_guard"
AUTOMATION = "train-cf: recommendations of a new champion"
pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    return store_with_champion(tmp_path / "store")


def test_the_flow_writes_what_the_command_writes(store, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    known = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    environment = known | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(GUARD)]),
        "RECSYS_TEST_NETWORK_LOG": str(tmp_path / "network.log"),
        "RECSYS_LOG_DIR": "logs",
        "HOME": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "flows.recommend_all",
        "--store",
        store.uri,
        "--output",
        "copy",
        "--json",
    ]
    done = subprocess.run(
        [*command, "--set", "recommend.rows_per_file=100"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    written = parquet_of(store, result["prefix"])
    assert len(list((tmp_path / "copy").glob("part-*.parquet"))) == 3
    assert not (tmp_path / "network.log").exists()
    again = recommend_all(store.uri, load_config(None, ["recommend.rows_per_file=100"]))
    assert again["reused"]
    store.delete(f"{result['prefix']}/manifest.json")
    for number in range(3):
        store.delete(f"{result['prefix']}/part-{number:05d}.json")
    assert recommend_all(store.uri, load_config(None, ["recommend.rows_per_file=100"]))["reused"] is False
    assert parquet_of(store, result["prefix"]) == written


@pytest.fixture
def production(store, tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    with running_prefect(folder, RECSYS_STORE=store.uri, XDG_CACHE_HOME=str(folder / "cache")) as prefect:
        deploy(prefect, {})
        with prefect.worker("cpu"):
            until(lambda: prefect.has_worker("cpu") or None, LONG_ENOUGH_SECONDS, "worker of cpu")
            yield prefect


def test_a_server_runs_it_by_hand_and_when_the_champion_changes(production, store, tmp_path):
    run = production.wait(production.start_run("recommend-all/manual"), LONG_ENOUGH_SECONDS)
    assert run["state_type"] == "COMPLETED", production.logs(run["id"])
    tasks = production.tasks(run["id"])
    assert {"open set", "measure recall", "write lists", "publish lists"} <= {
        name.rpartition("-")[0] or name for name in tasks
    }
    artifacts = production.artifacts(run["id"])
    assert artifacts["recommend-all-progress"]["data"] == 100
    assert "300 of 300 users" in artifacts["recommend-all-progress"]["description"]
    assert (
        json.loads(store.get(LATEST_KEY).data)["model_id"] in artifacts["recommend-all-lists"]["description"]
    )
    deadline = (
        time.monotonic() + LONG_ENOUGH_SECONDS
    )  # log lines come in batches, the last ones after the state
    while not any(line.startswith("recommendations of als_") for line in production.logs(run["id"])):
        assert time.monotonic() < deadline, production.logs(run["id"])
        time.sleep(0.2)

    known = production.call("POST", "/automations/filter", {})
    (automation,) = (one for one in known if one["name"] == AUTOMATION)
    assert automation["enabled"] is False
    production.call("PATCH", f"/automations/{automation['id']}", {"enabled": True})
    candidate = publish(Registry(store), random_model(tmp_path / "candidate", 20, 30, seed=5))
    promoted = production.start_run("promote/manual", model=candidate, reason="test")
    assert production.wait(promoted, LONG_ENOUGH_SECONDS)["state_type"] == "COMPLETED"
    second = until(
        lambda: next(iter(production.runs_of("recommend-all/manual")[1:]), None),
        LONG_ENOUGH_SECONDS,
        "run of the automation",
    )
    assert production.wait(second["id"], LONG_ENOUGH_SECONDS)["state_type"] == "COMPLETED"
    assert json.loads(store.get(LATEST_KEY).data)["model_id"] == candidate
