"""Attempts of one run that train other bits: after a collection, or alive at the same time."""

import dataclasses
import shutil

import numpy as np
import pytest
from killed_night import SMALL, failing, killed_night, night, registry_of

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import TrainingError
from recsys.pipeline import fitter
from recsys.pipeline.evaluate import evaluate_models
from recsys.pipeline.fit import Fitter, fit_model, load_factors
from recsys.pipeline.publish import publish_model
from recsys.pipeline.run import open_run
from recsys.registry.artifact import read_manifest
from recsys.storage.open import open_store
from recsys.types import Factors


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    shop = write_demo_shop(folder / "raw", size="small", seed=2)
    prepare(open_store(str(folder / "store")), shop.reviews, shop.products, load_config(None).data, seed=1)
    return folder / "store"


@pytest.fixture
def store(template, tmp_path):
    return shutil.copytree(template, tmp_path / "store")


def registered_factors(store, model_id):
    return read_manifest(open_store(str(store)), model_id)["facts"]["factors_sha256"]


def test_a_refused_model_does_not_pass_with_the_numbers_of_its_successor(store):
    """The fit of a failed night was collected; its rerun starts warm from a better model and trains other factors."""
    settings = ("bpr.epochs=1", "bpr.warm_start=true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitter, "train_als", failing(TrainingError("the GPU broke")))
        with pytest.raises(TrainingError, match="the GPU broke"):
            night(store, *settings)
    (refused,) = registry_of(store).list()
    assert refused.status == "archived"
    night(store, "runtime.models=[bpr]", "promotion.promote=false")
    collected = registry_of(store).gc(keep_versions=9, grace_hours=0, dry_run=False).items
    assert refused.run_id in {item.target for item in collected if item.kind == "run"}

    result = night(store, *settings)
    bpr = result["models"]["bpr"]
    assert result["run_id"] == refused.run_id
    assert bpr["factors_sha256"] != registered_factors(store, refused.model_id), "the rerun had to differ"
    assert registered_factors(store, bpr["model_id"]) == bpr["factors_sha256"]
    assert registry_of(store).show(bpr["model_id"]).metrics["recall@10"] == bpr["metrics"]["recall@10"]
    assert registry_of(store).show(refused.model_id).status == "archived"
    assert refused.model_id not in {candidate["model_id"] for candidate in result["decision"]["candidates"]}


def run_of(store, *settings):
    return open_run(str(store), load_config(None, [*SMALL, "als.iterations=3", *settings]))


@pytest.fixture
def slower_attempt(monkeypatch):
    """Let the first attempt end its training after another one has ended, with other last bits (another GPU)."""
    honest, ended = Fitter.fit, []

    def fit(self, settings, **options):
        result = honest(self, settings, **options)
        monkeypatch.setattr(Fitter, "fit", honest)
        ended.append(fit_model(self.run, self.model))
        other = Factors(
            result.factors.user_factors * np.float32(1 + 1e-6), result.factors.item_factors.copy()
        )
        return dataclasses.replace(result, factors=other)

    monkeypatch.setattr(Fitter, "fit", fit)
    return ended


def test_a_slower_attempt_leaves_the_finished_fit_alone(store, slower_attempt):
    run = run_of(store)
    slow = fit_model(run, "als")
    (first,) = slower_attempt
    assert slow == first, "both attempts go on with the fit that was finished first"
    assert load_factors(run, slow).sha256() == dict(first.factors_sha256)
    assert night(store, "als.iterations=3")["decision"]["promote"]


def test_two_attempts_that_write_their_factors_at_once_end_with_one_of_both(store, monkeypatch):
    """The second looks for a finished fit, finds none, and writes after the first has written, before its document."""
    run, second = run_of(store), Factors(np.ones((3, 2), np.float32), np.ones((2, 2), np.float32))
    from recsys.pipeline import fit as stage

    honest = stage.put_factors

    def put(store, prefix, factors):
        written = honest(store, prefix, factors)
        honest(store, prefix, second)
        return written

    monkeypatch.setattr(stage, "put_factors", put)
    fit = fit_model(run, "als")
    assert load_factors(run, fit).sha256() == dict(fit.factors_sha256)


def test_factors_of_an_earlier_version_are_found_beside_the_document(store):
    run = run_of(store)
    fit = fit_model(run, "als")
    folder = store / run.prefix / "als"
    (place,) = {path.parent for path in folder.rglob("U.npy")}
    assert place != folder
    for side in "UV":
        (place / f"{side}.npy").rename(folder / f"{side}.npy")
    assert load_factors(run, fit).sha256() == dict(fit.factors_sha256)


def test_of_two_attempts_that_register_one_fit_the_first_counts(store, monkeypatch):
    """Both looked before either had registered; whichever is run again finds the model that was first."""
    from recsys.pipeline import publish

    run = run_of(store)
    fit = fit_model(run, "als")
    evaluation, first = evaluate_models(run, [fit]), []
    honest = publish.stage_model

    def stage(*arguments, **options):
        monkeypatch.setattr(publish, "stage_model", honest)
        first.append(publish_model(run, fit, evaluation))
        return honest(*arguments, **options)

    monkeypatch.setattr(publish, "stage_model", stage)
    assert publish_model(run, fit, evaluation) == first[0]
    assert publish_model(run, fit, evaluation) == first[0]
    statuses = {entry.model_id: entry.status for entry in registry_of(store).list()}
    assert statuses.pop(first[0]) == "candidate"
    assert list(statuses.values()) == ["archived"]


def test_a_second_attempt_beside_one_that_promoted_agrees_with_it(store):
    """The slow attempt evaluated before the fast one promoted, and decides after it."""
    from recsys.pipeline.decide import decide_and_promote
    from recsys.pipeline.fit import finished_fit

    killed_night(store, stage="publish_model")
    run = open_run(str(store), load_config(None, SMALL))
    fits = [finished_fit(run, model) for model in ("als", "bpr")]
    evaluation = evaluate_models(run, fits)
    fast = night(store)
    model_ids = {fit.model: publish_model(run, fit, evaluation) for fit in fits}
    assert decide_and_promote(run, model_ids, evaluation) == fast["decision"]


def test_of_two_models_of_one_fit_the_one_that_serves_counts(store):
    """As older versions left them, or two hosts whose clocks disagree on which was first."""
    run = run_of(store)
    fit = fit_model(run, "als")
    evaluation = evaluate_models(run, [fit])
    publish_model(run, fit, evaluation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.pipeline.publish.registered_fit", lambda *_: None)
        second = publish_model(run, fit, evaluation)
    registry_of(store).promote(second, reasons=["it serves"])
    assert publish_model(run, fit, evaluation) == second
