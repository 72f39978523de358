"""A model that serving cannot open, its factors no numbers or its score range missing, never becomes champion."""

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import RegistryError, TrainingError
from recsys.pipeline import evaluate
from recsys.pipeline.nightly import run_nightly
from recsys.registry.catalogue import Registry
from recsys.registry.serving import load_champion
from recsys.storage.local import LocalStore

SETTINGS = ["runtime.models=[als]", "als.preset=default", "als.factors=16", "als.iterations=3"]
SETTINGS += ["als.regularization=30", "evaluation.bootstrap_resamples=1000"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("shop")
    write_demo_shop(place / "raw", size="small", seed=5)
    store = LocalStore(place / "store")
    prepare(store, place / "raw" / "reviews.csv", None, load_config(None).data, seed=1)
    run_nightly(str(store.root), load_config(None, SETTINGS))
    return store


def degenerate(*_, **__):
    raise TrainingError("all scores are equal")


@pytest.mark.parametrize(
    ("name", "broken", "reason"),
    [
        ("is_usable", lambda _: False, "the factors are no usable numbers"),
        ("measure_score_distribution", degenerate, "all scores are equal"),
    ],
)
@pytest.mark.parametrize("promote", ["true", "false"])
def test_it_is_registered_as_failed_and_promotion_by_hand_is_refused(
    store, tmp_path, monkeypatch, name, broken, reason, promote
):
    serving = load_champion(store, cache_dir=tmp_path)
    champion = serving.model_id
    monkeypatch.setattr(evaluate, name, broken)
    config = load_config(None, [*SETTINGS, f"promotion.promote={promote}"])
    result = run_nightly(str(store.root), config, force=True)
    model_id = result["models"]["als"]["model_id"]
    registry = Registry(store)
    assert registry.show(model_id).status == "failed"
    (told,) = [event for event in registry.history() if event.arguments.get("model_id") == model_id]
    assert (told.action, told.reasons) == ("register", (reason,))
    with pytest.raises(RegistryError, match="marked failed"):
        registry.promote(model_id, reasons=["by hand"])
    assert registry.archive(model_id).status == "failed"
    assert result["decision"]["champion"] == registry.state().champion == champion
    refused = {gate["name"] for gate in result["decision"]["gates"][model_id] if not gate["passed"]}
    assert "score_range" in refused
    assert not serving.refresh()
    assert load_champion(store, cache_dir=tmp_path).model_id == champion


def test_a_sound_model_is_a_candidate(store):
    night = run_nightly(
        str(store.root), load_config(None, [*SETTINGS, "promotion.promote=false"]), force=True
    )
    assert Registry(store).show(night["models"]["als"]["model_id"]).status == "candidate"
