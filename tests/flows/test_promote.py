"""Promotion and rollback by hand: flow runs that wait for a worker while a night moves the champion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sample_models import publish, write_model

from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store

ROOT = Path(__file__).resolve().parents[2]
# asks for each flow run, lets a night promote, and only then does what a worker does with the run
PROGRAM = """
import json, sys
from flows.embedded import use_embedded_server, wait_for_embedded_server
use_embedded_server()
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled
from flows import promote
from recsys.registry.catalogue import Registry
from recsys.storage.open import open_store
wait_for_embedded_server()
store, flow, parameters, better = sys.argv[1], getattr(promote, sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4]
with get_client(sync_client=True) as client:
    asked = client.create_flow_run(flow, parameters=parameters, state=Scheduled())
if better:
    Registry(open_store(store)).promote(better, reasons=["the night"])
state = run_flow(flow, flow_run=asked, parameters=parameters, return_type="state")
print(json.dumps({"state": state.type.value, "message": state.message}))
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return (folder, model ids) of a registry in which the second model, a bad one, serves."""
    folder = tmp_path_factory.mktemp("promote")
    registry = Registry(open_store(str(folder / "store")))
    model = write_model(folder / "model")
    return folder, registry, [publish(registry, model) for _ in range(3)]


@pytest.fixture
def models(shop):
    _, registry, ids = shop
    for model_id in ids[:2]:
        registry.promote(model_id, reasons=["it passed"])
    return ids


def late(shop, flow, better="", **parameters):
    """Run the flow after a night that came between; return how it ended and who serves now."""
    folder, registry, _ = shop
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environment |= {"PYTHONPATH": str(ROOT), "RECSYS_STATE": "state", "HOME": str(folder)}
    parameters = {"store": registry.store.uri, **parameters}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, registry.store.uri, flow, json.dumps(parameters), better],
        **{"capture_output": True, "text": True, "cwd": folder, "env": environment, "check": False},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), registry.state().champion


def test_a_rollback_that_waited_does_not_go_back_to_the_model_it_was_to_leave(shop, models):
    _, bad, better = models
    ended, champion = late(shop, "rollback", better, reason="complaints")
    assert champion == better
    assert ended["state"] == "FAILED"
    assert f"{bad} was to be left, but {better} serves now" in ended["message"]


def test_a_rollback_goes_back_when_nothing_came_between(shop, models):
    good, bad, _ = models
    ended, champion = late(shop, "rollback", reason="complaints", expected_champion=bad)
    assert (ended["state"], champion) == ("COMPLETED", good)


def test_previous_is_the_model_that_was_previous_when_it_was_asked_for(shop, models):
    _, bad, better = models
    ended, champion = late(shop, "promote", better, reason="complaints", model="previous")
    assert champion == better
    assert ended["state"] == "FAILED"
    assert bad in ended["message"]
