"""A night with three models: the hybrid learns from embeddings, and is measured and registered like the others."""

import json
import os

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cli.main import run as recsys
from recsys.config.load import load_config
from recsys.errors import ConfigError, DataError, TrainingError
from recsys.pipeline import content
from recsys.pipeline.nightly import run_nightly
from recsys.pipeline.run import open_run
from recsys.registry.artifact import fetch_model
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

pytest.importorskip("torch", reason="the extra torch is not installed")

SETTINGS = [
    *("als.preset=default", "als.factors=8", "als.iterations=5", "als.regularization=10"),
    *("bpr.preset=original", "bpr.factors=8", "bpr.epochs=10"),
    *("hybrid.factors=8", "hybrid.epochs=6", "hybrid.batch_size=512", "runtime.models=[als, bpr, hybrid]"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return (store, version with embeddings, version with vectors of few items, version without)."""
    place = tmp_path_factory.mktemp("shop")
    write_demo_shop(place / "raw", size="small", seed=5)
    store, config, versions = LocalStore(place / "store"), load_config(None, SETTINGS), []
    products = pl.read_csv(place / "raw" / "products.csv", infer_schema=False)["product_id"].to_list()
    vectors = np.random.default_rng(0).standard_normal((len(products), 12)).astype(np.float32)
    for n_known in (len(products) * 9 // 10, 3, 0):
        path = place / f"vectors{n_known}.npz"
        np.savez(path, embeddings=vectors[:n_known], item_ids=np.array(products[:n_known]))
        prepared = prepare(
            store,
            place / "raw" / "reviews.csv",
            place / "raw" / "products.csv",
            config.data,
            seed=1,
            embeddings=path if n_known else None,
        )
        versions.append(prepared.version)
    return store, *versions


@pytest.fixture(scope="module")
def night(shop):
    store, version, *_ = shop
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        return run_nightly(store.uri, load_config(None, SETTINGS), data_version=version)


def test_three_models_are_trained_at_once_measured_compared_and_registered(shop, night):
    assert set(night["models"]) == {"als", "bpr", "hybrid"}
    hybrid = night["models"]["hybrid"]
    assert hybrid["finite"]
    assert hybrid["score_range"]["p99"] > hybrid["score_range"]["p01"]
    assert hybrid["settings"]["cf_weight"] == 0.7
    assert hybrid["trials"] == []
    assert hybrid["device"] == "cpu"
    assert 0.8 < hybrid["content"]["coverage"] < 1
    pairs = {frozenset((one["a"], one["b"])) for one in night["comparisons"]}
    assert {frozenset(("hybrid", other)) for other in ("als", "bpr", "popularity")} <= pairs
    statuses = {entry.model_type: entry.status for entry in Registry(shop[0]).list()}
    assert set(statuses) == {"als", "bpr", "hybrid"}
    assert list(Registry(shop[0]).verify()) == []


def test_its_files_are_those_of_any_model_and_name_the_embeddings(shop, night, tmp_path):
    path = fetch_model(shop[0], night["models"]["hybrid"]["model_id"], tmp_path / "model")
    U, V = (np.load(path / f"hybrid_{side}.npy") for side in "UV")
    assert U.shape[1] == V.shape[1] == 8
    metadata = json.loads((path / "hybrid_metadata.json").read_text())
    assert metadata["content"] == night["models"]["hybrid"]["content"]
    assert metadata["content"]["dimensions"] == 12
    assert "cf_loss" in (path / "training_history.csv").read_text().splitlines()[0]
    assert "content_loss" in json.loads((path / "training_history.json").read_text())[0]
    other = json.loads((fetched(shop, night, "als", tmp_path) / "als_metadata.json").read_text())
    assert other["content"] is None


def fetched(shop, night, model, place):
    return fetch_model(shop[0], night["models"][model]["model_id"], place / model)


def test_it_can_be_promoted_and_serves(shop, night, capsys):
    store, model_id = shop[0], night["models"]["hybrid"]["model_id"]
    Registry(store).promote(model_id, reasons=["a test"])
    user = load_processed_data(store, shop[1]).mappings.user_ids[0]
    told = json.loads(call(capsys, "recommend", user, "--store", store.uri, "--k", "5"))
    assert told["model_id"] == model_id
    assert len(told["items"]) == 5


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        recsys([*arguments, "--json"])
    printed = capsys.readouterr()
    assert not left.value.code, printed.err
    return printed.out


def test_a_rerun_finds_it_and_another_run_of_the_same_gives_the_same_bytes(shop, night):
    store, version, *_ = shop
    config = load_config(None, SETTINGS)
    assert run_nightly(store.uri, config, data_version=version)["reused"]
    alone = load_config(None, [*SETTINGS[:-1], "runtime.models=[hybrid]"])
    again = run_nightly(store.uri, alone, data_version=version)
    assert again["models"]["hybrid"]["factors_sha256"] == night["models"]["hybrid"]["factors_sha256"]


def test_without_embeddings_the_night_does_not_begin_and_says_how_to_add_them(shop):
    store, *_, without = shop
    before = [info.key for info in store.list("runs/")]
    with pytest.raises(DataError, match=r"prepare it with `recsys prepare .* --embeddings"):
        run_nightly(store.uri, load_config(None, SETTINGS), data_version=without)
    assert [info.key for info in store.list("runs/")] == before
    open_run(store.uri, load_config(None, ["runtime.models=[als, bpr]"]), data_version=without)


def test_without_torch_the_night_does_not_begin_and_says_what_to_install(shop, monkeypatch):
    def missing():
        raise ConfigError("pip install 'train-cf[torch]'")

    monkeypatch.setattr(content, "require_torch", missing)
    with pytest.raises(ConfigError, match="train-cf"):
        open_run(shop[0].uri, load_config(None, SETTINGS), data_version=shop[1])
    open_run(shop[0].uri, load_config(None, ["runtime.models=[als, bpr]"]), data_version=shop[1])
    sharded = [*SETTINGS, "runtime.engine.hybrid=torchrec"]  # of which the ranks have torch
    open_run(shop[0].uri, load_config(None, sharded), data_version=shop[1])


def test_too_few_embeddings_fail_the_hybrid_branch_alone(shop):
    store, _, few, _ = shop
    with pytest.raises(TrainingError, match=r"hybrid.*cover"):
        run_nightly(store.uri, load_config(None, SETTINGS), data_version=few)
    trained = {entry.model_type for entry in Registry(store).list() if entry.data_version == few}
    assert trained == {"als", "bpr"}


def test_settings_of_the_hybrid_change_only_runs_that_train_it(shop):
    def run_id(*settings):
        return open_run(shop[0].uri, load_config(None, settings), data_version=shop[1]).run_id

    assert run_id("hybrid.epochs=7") == run_id()
    three = "runtime.models=[als, bpr, hybrid]"
    assert run_id("hybrid.epochs=7", three) != run_id(three) != run_id()
