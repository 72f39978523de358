"""A night that died after its promotion and is run again: the champions and the decision of an undisturbed one."""

import json
import shutil

import pytest
from killed_night import SMALL, failing, killed_night, night, registry_of

from flows import tasks
from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import TrainingError
from recsys.pipeline import fitter
from recsys.pipeline.evaluate import evaluate_models
from recsys.pipeline.fit import finished_fit
from recsys.pipeline.publish import publish_model
from recsys.pipeline.run import open_run
from recsys.registry.artifact import read_manifest
from recsys.storage.open import open_store

YESTERDAY = ("runtime.models=[als]", "als.factors=4")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Return a folder of stores to copy: of a shop that has no champion yet, and of one that has yesterday's."""
    folder = tmp_path_factory.mktemp("template")
    shop = write_demo_shop(folder / "raw", size="small", seed=2)
    lines = shop.reviews.read_text("utf-8").splitlines(keepends=True)
    half = folder / "half.csv"
    half.write_text("".join(lines[: len(lines) // 2]), "utf-8")
    for name, files in (("new", [shop.reviews]), ("old", [half, shop.reviews])):
        for place, file in enumerate(files):
            if place:
                assert night(folder / name, *YESTERDAY)["decision"]["promote"]
            store = open_store(str(folder / name))
            prepare(store, file, shop.products, load_config(None).data, seed=1)
    return folder


@pytest.fixture
def store(template, tmp_path):
    """Return a store with yesterday's champion."""
    return shutil.copytree(template / "old", tmp_path / "store")


def told(store, document):
    """Return a document as text, with the names of models in place of their random ids."""
    text = json.dumps(document, sort_keys=True)
    for place, entry in enumerate(reversed(registry_of(store).list())):
        text = text.replace(entry.model_id, f"{entry.model_type}-{entry.data_version}-of-{entry.run_id}")
        assert place < 3, "a model was registered twice"
    return text


def serving(store):
    """Return the hashes of the champion and of the previous one."""
    state = registry_of(store).state()
    names = (state.champion, state.previous)
    return [name and read_manifest(open_store(str(store)), name)["facts"]["factors_sha256"] for name in names]


def moves(store):
    return [event for event in registry_of(store).history() if event.action in ("promote", "rollback")]


@pytest.mark.parametrize(
    ("shop", "stage", "settings"),
    [
        ("old", "decide_and_promote", ()),
        ("old", "finish_run", ()),
        ("new", "finish_run", ()),  # the first champion ever
        ("old", "finish_run", ("bpr.epochs=1",)),  # its sibling is refused
        ("old", "finish_run", ("runtime.min_data_change=0.1",)),
    ],
)
def test_a_killed_night_ends_as_an_undisturbed_one(template, tmp_path, shop, settings, stage):
    undisturbed, killed = (shutil.copytree(template / shop, tmp_path / name) for name in ("u", "k"))
    expected = night(undisturbed, *settings)
    assert expected["decision"]["promote"]
    killed_night(killed, *settings, stage=stage)
    result = night(killed, *settings)
    assert not result["reused"]
    assert serving(killed) == serving(undisturbed)
    for key in ("decision", "champion_before"):
        assert told(killed, result[key]) == told(undisturbed, expected[key])
    statuses = [[(e.model_type, e.status) for e in registry_of(one).list()] for one in (undisturbed, killed)]
    assert statuses[0] == statuses[1]
    assert len(moves(killed)) == len(moves(undisturbed))
    assert list(registry_of(killed).verify()) == []
    assert night(killed, *settings)["reused"]


def up_to_the_decision(store, *settings):
    """Return what the task of the flow that decides is given."""
    run = open_run(str(store), load_config(None, [*SMALL, *settings]))
    fits = [finished_fit(run, model) for model in ("als", "bpr")]
    evaluation = evaluate_models(run, fits)
    return run, {fit.model: publish_model(run, fit, evaluation) for fit in fits}, evaluation


def test_the_rerun_of_the_flow_tells_that_the_champion_changed(store, monkeypatch):
    yesterday, events = registry_of(store).state().champion, []
    monkeypatch.setattr(tasks, "emit_champion_changed", lambda *event: events.append(event))
    killed_night(store)
    decision = tasks.decide_task.fn(*up_to_the_decision(store))
    ((uri, champion, previous, reasons),) = events
    assert (uri, champion, previous) == (str(store), registry_of(store).state().champion, yesterday)
    assert reasons == decision["reasons"]
    assert f"it replaces {yesterday}" in reasons[0]


@pytest.mark.parametrize("failed", ["als", "bpr"])
def test_a_sibling_that_failed_is_judged_against_the_champion_before_the_night(template, tmp_path, failed):
    undisturbed, disturbed = (shutil.copytree(template / "old", tmp_path / name) for name in ("u", "d"))
    yesterday = registry_of(disturbed).state().champion
    expected = night(undisturbed)
    with pytest.MonkeyPatch.context() as patch:
        trainer = {"als": "train_als", "bpr": "fit_bpr"}[failed]
        patch.setattr(fitter, trainer, failing(TrainingError("the machine broke")))
        with pytest.raises(TrainingError, match="the machine broke"):
            night(disturbed)
    first = registry_of(disturbed).state().champion
    assert first.split("_")[0] != failed
    assert first != yesterday
    result = night(disturbed)
    assert told(disturbed, result["decision"]) == told(undisturbed, expected["decision"])
    assert serving(disturbed)[0] == serving(undisturbed)[0]
    state = registry_of(disturbed).state()
    # what served in between is the previous one, for it did serve
    assert state.previous == (yesterday if state.champion == first else first)


def test_a_rollback_between_kill_and_rerun_is_respected(store):
    yesterday = registry_of(store).state().champion
    killed_night(store)
    tonight = registry_of(store).state().champion
    registry_of(store, "ann@shop").rollback("complaints")
    result = night(store)
    state = registry_of(store).state()
    assert state.champion == result["decision"]["champion"] == yesterday
    assert not result["decision"]["promote"]
    assert result["decision"]["model_id"] == tonight
    assert "ann@shop" in result["decision"]["reasons"][0]
    assert "complaints" in result["decision"]["reasons"][0]
    assert [move.action for move in moves(store)] == ["promote", "promote", "rollback"]


def test_a_promotion_by_hand_between_kill_and_rerun_is_respected(store):
    killed_night(store, "bpr.epochs=1")
    refused = next(entry for entry in registry_of(store).list() if entry.model_type == "bpr")
    assert refused.status == "archived"
    registry_of(store, "ann@shop").promote(refused.model_id, reasons=["by hand: the shop wants it"])
    result = night(store, "bpr.epochs=1")
    assert registry_of(store).state().champion == result["decision"]["champion"] == refused.model_id
    assert registry_of(store).show("champion").status == "active"
    assert not result["decision"]["promote"]
    assert "the shop wants it" in result["decision"]["reasons"][0]


def test_a_candidate_promoted_by_hand_before_the_decision_stays(store):
    """The night died before it decided, and somebody took the model it would not have chosen."""
    undisturbed = night(shutil.copytree(store, store.parent / "undisturbed"))["decision"]["model_id"]
    killed_night(store, stage="decide_and_promote")
    other = next(e for e in registry_of(store).list() if e.model_type != undisturbed.split("_")[0])
    registry_of(store, "ann@shop").promote(other.model_id, reasons=["by hand: I trust it more"])
    result = night(store)
    assert registry_of(store).state().champion == result["decision"]["champion"] == other.model_id
    assert not result["decision"]["promote"]


def test_another_nights_champion_before_the_decision_is_the_one_to_beat(store):
    killed_night(store, stage="decide_and_promote")
    other = night(store, "runtime.models=[als]", "als.iterations=2")
    assert other["decision"]["promote"]
    result = night(store)
    assert result["champion_before"]["model_id"] == other["decision"]["champion"]
