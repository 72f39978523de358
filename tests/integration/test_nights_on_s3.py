"""Whole nights on a real S3 server: the same models as on a local directory, and two nights that meet."""

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import ChampionChanged, IntegrityError
from recsys.pipeline.decide import decide_and_promote
from recsys.pipeline.evaluate import evaluate_models
from recsys.pipeline.fit import fit_model
from recsys.pipeline.nightly import run_nightly
from recsys.pipeline.publish import publish_model
from recsys.pipeline.run import open_run
from recsys.registry.artifact import model_prefix
from recsys.registry.catalogue import Registry
from recsys.registry.serving import load_champion, load_model
from recsys.storage.open import open_store

FIXED = [
    *("als.regularization=50", "als.alpha=10", "als.factors=16", "als.iterations=6"),
    *("bpr.preset=original", "bpr.epochs=5", "bpr.factors=16", "bpr.negative_sampling=uniform"),
]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    directory = tmp_path_factory.mktemp("raw")
    write_demo_shop(directory, size="small", seed=5)
    return directory


def prepared(raw, uri):
    config = load_config(None, FIXED)
    prepare(open_store(uri), raw / "reviews.csv", raw / "products.csv", config.data, seed=42)
    return uri


def test_a_night_on_s3_equals_one_on_a_directory(raw, s3, tmp_path):
    config = load_config(None, FIXED)
    results = {
        uri: run_nightly(prepared(raw, uri), config) for uri in (s3.new_uri(), str(tmp_path / "store"))
    }
    on_s3, locally = results.values()
    assert on_s3["run_id"] == locally["run_id"]
    for model in ("als", "bpr"):
        for key in ("factors_sha256", "metrics", "score_range"):
            assert on_s3["models"][model][key] == locally["models"][model][key]
    assert on_s3["decision"]["promote"]
    store = open_store(next(iter(results)))
    assert list(Registry(store).verify()) == []
    serving = load_champion(store, cache_dir=tmp_path / "cache")
    assert serving.model_id == on_s3["decision"]["champion"]


def up_to_the_decision(uri, seed):
    """Return (run, model ids, evaluation) of a night that stands before its decision."""
    run = open_run(uri, load_config(None, [*FIXED, f"runtime.seed={seed}", "runtime.models=[als]"]))
    fits = [fit_model(run, "als")]
    evaluation = evaluate_models(run, fits)
    return run, {fit.model: publish_model(run, fit, evaluation) for fit in fits}, evaluation


def test_of_two_nights_at_once_one_wins_and_the_other_keeps_its_candidate(raw, s3):
    uri = prepared(raw, s3.new_uri())
    first, second = up_to_the_decision(uri, seed=1), up_to_the_decision(uri, seed=2)
    won = decide_and_promote(*first)
    with pytest.raises(ChampionChanged, match="compare it again"):
        decide_and_promote(*second)
    registry = Registry(open_store(uri))
    assert registry.state().champion == won["champion"]
    loser = registry.show(second[1]["als"])
    assert loser.status == "candidate"
    assert list(registry.verify()) == []


def test_a_tampered_candidate_is_stopped_by_the_gate_and_found_by_verify_and_load(raw, s3, tmp_path):
    uri = prepared(raw, s3.new_uri())
    run, model_ids, evaluation = up_to_the_decision(uri, seed=3)
    store, model_id = open_store(uri), model_ids["als"]
    key = model_prefix(model_id) + "als_V.npy"
    honest = store.get(key)
    forged = bytearray(honest.data)
    forged[-1] ^= 1
    store.put_if_match(key, bytes(forged), honest.etag)

    decision = decide_and_promote(run, model_ids, evaluation)
    assert not decision["promote"]
    gates = {gate["name"]: gate["passed"] for gate in decision["gates"][model_id]}
    assert gates.pop("artifacts") is False
    assert all(gates.values()), "only the damaged file may stop it"
    assert any("als_V.npy" in finding for finding in Registry(store).verify())
    with pytest.raises(IntegrityError, match=r"als_V\.npy"):
        Registry(store).promote(model_id, reasons=["by hand"])
    with pytest.raises(IntegrityError, match=r"als_V\.npy"):
        load_model(store, model_id, cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("damage", ["a byte of V", "no manifest"])
def test_a_damaged_champion_does_not_block_the_next_night(raw, tmp_path, damage):
    uri = prepared(raw, str(tmp_path / "store"))
    first = run_nightly(uri, load_config(None, FIXED))
    store, champion = open_store(uri), first["decision"]["champion"]
    if damage == "no manifest":
        store.delete(model_prefix(champion) + "manifest.json")
    else:
        key = f"{model_prefix(champion)}{champion.split('_')[0]}_V.npy"
        honest = store.get(key)
        store.put_if_match(key, honest.data[:-1] + bytes([honest.data[-1] ^ 1]), honest.etag)
    second = run_nightly(uri, load_config(None, [*FIXED, "runtime.seed=7"]))
    assert second["decision"]["promote"]
    assert second["decision"]["champion"] != champion
    assert any(champion in reason and "damaged" in reason for reason in second["decision"]["reasons"])
    assert Registry(store).state().champion == second["decision"]["champion"]
