"""Promotion and rollback by hand: flow runs that wait for a worker while a night moves the champion."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sample_models import publish, write_model

import flows.promote
from recsys.errors import OutcomeUnknown, StoreUnavailable
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore
from recsys.storage.open import open_store

ROOT = Path(__file__).resolve().parents[2]
# asks for a flow run, lets a night promote, and only then does what a worker does with the run; the store may fall
# silent after it has written the event of the run, which then fails and is retried
PROGRAM = """
import json, sys
from flows.embedded import use_embedded_server, wait_for_embedded_server
use_embedded_server()
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Scheduled
from flows import promote
from recsys.errors import OutcomeUnknown
from recsys.registry import catalogue
from recsys.storage.open import open_store
wait_for_embedded_server()
store, name, parameters, better, silent = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])
flow, advance_snapshot, events = getattr(promote, name), catalogue.advance_snapshot, []
def silence(*_):
    raise OutcomeUnknown("silence")
promote.emit_champion_changed = lambda *event: events.append(event)
promote.promote_task = promote.promote_task.with_options(retries=0)
with get_client(sync_client=True) as client:
    asked = client.create_flow_run(flow, parameters=parameters, state=Scheduled())
    if better:
        catalogue.Registry(open_store(store)).promote(better, reasons=["the night"])
    if silent:
        catalogue.advance_snapshot = silence
        state = run_flow(flow, flow_run=asked, parameters=parameters, return_type="state")
        assert state.is_failed() and not events, state
        catalogue.advance_snapshot = advance_snapshot
        client.set_flow_run_state(asked.id, AwaitingRetry(), force=True)
        asked = client.read_flow_run(asked.id)
    state = run_flow(flow, flow_run=asked, parameters=parameters, return_type="state")
print(json.dumps({"state": state.type.value, "message": state.message, "events": events}))
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


def late(shop, flow, better="", *, silent=False, **parameters):
    """Run the flow after a night that came between; return how it ended and who serves now."""
    folder, registry, _ = shop
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    environment |= {"PYTHONPATH": str(ROOT), "RECSYS_STATE": "state", "HOME": str(folder)}
    parameters = {"store": registry.store.uri, "reason": "complaints", **parameters}
    arguments = [registry.store.uri, flow, *map(json.dumps, (parameters, better, silent))]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        **{"capture_output": True, "text": True, "cwd": folder, "env": environment, "check": False},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), registry.state().champion


@pytest.fixture
def events(monkeypatch):
    """Return what is told of changes of the champion, as (champion, previous)."""
    told = []
    monkeypatch.setattr(flows.promote, "emit_champion_changed", lambda _, *event: told.append(event[:2]))
    return told


@pytest.fixture
def attempt(shop, models, events):
    """Return what makes one attempt of the promotion of a model that was asked for after ``models`` were set up."""
    asked_at = datetime.now(UTC)

    def promote(model, seconds_fast=0):
        then = asked_at + timedelta(seconds=seconds_fast)
        return flows.promote.promote_task.fn(shop[1].store.uri, None, model, "complaints", then)

    return promote


def test_a_rollback_that_waited_does_not_go_back_to_the_model_it_was_to_leave(shop, models):
    _, bad, better = models
    ended, champion = late(shop, "rollback", better)
    assert champion == better
    assert ended["state"] == "FAILED"
    assert f"{bad} was to be left, but {better} serves now" in ended["message"]


def test_a_rollback_goes_back_when_nothing_came_between(shop, models):
    good, bad, _ = models
    ended, champion = late(shop, "rollback", expected_champion=bad)
    assert (ended["state"], champion) == ("COMPLETED", good)


def test_previous_is_the_model_that_was_previous_when_it_was_asked_for(shop, models):
    _, bad, better = models
    ended, champion = late(shop, "promote", better, model="previous")
    assert champion == better
    assert ended["state"] == "FAILED"
    assert bad in ended["message"]


def test_a_promotion_that_is_retried_after_its_answer_was_lost_is_done_once_and_told(shop, models):
    good, bad, _ = models
    n_events = len(shop[1].history())
    ended, champion = late(shop, "promote", model="previous", silent=True)
    assert (ended["state"], champion) == ("COMPLETED", good), ended["message"]
    assert ended["events"] == [[shop[1].store.uri, good, bad, ["by hand: complaints"]]]
    assert len(shop[1].history()) == n_events + 1


@pytest.mark.parametrize("named", ["previous", "by id"])
def test_the_attempt_after_one_that_fell_silent_tells(shop, models, attempt, events, monkeypatch, named):
    good, bad, _ = models
    model = good if named == "by id" else named
    answered, read, gone = LocalStore.put_new, LocalStore.get, []

    def put_new(store, key, data):
        etag = answered(store, key, data)
        if key.startswith("registry/log/"):
            gone.append(key)
            raise OutcomeUnknown("silence")
        return etag

    def get(store, key):
        if gone:
            raise StoreUnavailable("silence")
        return read(store, key)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "put_new", put_new)
        patch.setattr(LocalStore, "get", get)
        with pytest.raises(StoreUnavailable):
            attempt(model)
    assert (len(gone), events) == (1, [])
    assert attempt(model)["model_id"] == good
    assert shop[1].state().champions[-3:] == (good, bad, good)
    assert events == [(good, bad)]


def test_previous_is_that_model_even_if_the_champion_served_again_after_another(
    shop, models, attempt, events
):
    good, bad, better = models
    for model_id in (better, bad):
        shop[1].promote(model_id, reasons=["the night"])
    assert attempt("previous")["model_id"] == good
    assert events == [(good, bad)]


def test_a_promotion_tells_which_model_it_replaced_also_if_another_came_between(
    shop, models, attempt, events
):
    _, bad, better = models
    shop[1].promote(better, reasons=["the night"])
    assert attempt(bad)["model_id"] == bad
    assert events == [(bad, better)]


def test_a_promotion_is_told_though_the_clock_of_the_server_is_ahead(shop, models, attempt, events):
    _, bad, better = models
    attempt(better, seconds_fast=60)
    shop[1].promote(bad, reasons=["the night"])
    attempt("previous", seconds_fast=60)
    assert events == [(better, bad), (better, bad)]


def test_a_promotion_of_the_model_that_serves_tells_nothing(shop, models, attempt, events):
    _, bad, better = models
    attempt(bad)
    shop[1].promote(better, reasons=["the night"])
    assert attempt(better)["model_id"] == better
    assert events == []
