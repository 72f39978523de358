"""The Prefect server goes away while a night talks to it between two tasks, and comes back, or does not in time."""

import json
import os
from pathlib import Path

import pytest
from prefect_servers import running_prefect

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store

HERE = Path(__file__).parent
QUICK = [
    *(
        "als.preset=default",
        "als.iterations=4",
        "als.factors=16",
        "als.regularization=50",
        "als.use_gpu=auto",
    ),
    *("bpr.preset=original", "bpr.epochs=4", "bpr.factors=16", "bpr.negative_sampling=uniform"),
    "promotion.min_improvement=0",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_prefect(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def store(tmp_path):
    write_demo_shop(tmp_path / "raw", size="small", seed=3)
    store = open_store(str(tmp_path / "store"))
    prepare(store, tmp_path / "raw" / "reviews.csv", None, DataConfig(), seed=42)
    return store


def night(server, store, away, models="als, bpr", **environment):
    """Run a night that loses the server at named moments; return what it told, and the flow run."""
    parameters = {"store": store.uri, "overrides": [*QUICK, f"runtime.models=[{models}]"]}
    path = os.pathsep.join([server.environment["PYTHONPATH"], str(HERE)])
    arguments = ("-m", "server_gate", server.url, json.dumps(away), json.dumps(parameters))
    done = server.command(*arguments, PYTHONPATH=path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = server.call("POST", "/flow_runs/filter", {"sort": "START_TIME_DESC"})
    return json.loads(done.stdout.splitlines()[-1]), runs[0]


def test_a_server_that_comes_back_is_asked_again(server, store):
    """Before each thing that the flow asks of it between two tasks; the longest before trainings are submitted."""
    seconds = {"show_identity": 1.0, "pool_of": 1.0, "wait_for_answer": 3.0, "show_result": 1.0}
    away = {f"train_cf.{moment}": one for moment, one in seconds.items()}
    told, run = night(server, store, away)
    assert told["state"] == run["state_type"] == "COMPLETED", told
    assert set(told["result"]["models"]) == {"als", "bpr"}
    assert run["name"] == f"train-cf {told['result']['data_version']}"
    assert told["result"]["run_id"] in run["tags"]
    assert set(server.tasks(run["id"])["fit bpr"]["tags"]) == {"bpr"}
    assert {"train-cf-metrics", "train-cf-report"} <= set(server.artifacts(run["id"]))


def test_a_night_that_cannot_be_shown_has_not_failed(server, store):
    """The server is away for longer than the client asks, and back for the flow's end."""
    away = {"train_cf.show_result": None}
    told, run = night(server, store, away, "bpr", PREFECT_CLIENT_MAX_RETRIES="1")
    assert told["state"] == run["state_type"] == "COMPLETED", told
    assert Registry(store).state().champion == told["result"]["decision"]["champion"]
    assert "train-cf-report" not in server.artifacts(run["id"])
    assert any("show_result: the Prefect UI lacks it" in line for line in server.logs(run["id"]))
