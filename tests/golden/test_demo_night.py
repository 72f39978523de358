"""The whole night on the small demo shop with the nightly configuration: what a stranger sees, within tolerances."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.pipeline.nightly import run_nightly
from recsys.registry.catalogue import Registry
from recsys.registry.serving import load_champion
from recsys.storage.local import LocalStore
from recsys.types import ScoreRange

CONFIG = Path(__file__).resolve().parents[2] / "deployments" / "training_config.yaml"


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Return (store, result, output directory)."""
    place = tmp_path_factory.mktemp("demo")
    write_demo_shop(place / "raw", size="small", seed=42)
    store, config = LocalStore(place / "store"), load_config(CONFIG)
    prepare(store, place / "raw" / "reviews.csv", place / "raw" / "products.csv", config.data, seed=42)
    result = run_nightly(str(place / "store"), config, output=str(place / "out"))
    return store, result, place / "out"


def test_both_models_beat_popularity_by_a_fifth(night):
    _, result, _ = night
    for model in ("als", "bpr"):
        facts = result["models"][model]
        assert facts["improvement"]["recall@10"] >= 0.20
        assert facts["improvement_ci"]["recall@10"][0] > 0
        assert facts["trials"], "auto must have tried settings"


def test_metrics_are_those_of_the_recorded_night(night):
    _, result, _ = night
    assert result["baselines"]["popularity"]["recall@10"] == pytest.approx(
        0.229, abs=0.001
    )  # no training in it
    assert result["models"]["als"]["metrics"]["recall@10"] == pytest.approx(0.46, abs=0.04)
    assert result["models"]["bpr"]["metrics"]["recall@10"] == pytest.approx(0.47, abs=0.04)


def test_the_champion_passed_every_gate_and_serves(night):
    store, result, _ = night
    decision = result["decision"]
    assert decision["promote"]
    assert all(gate["passed"] for gate in decision["gates"][decision["model_id"]])
    assert Registry(store).state().champion == decision["champion"] == decision["model_id"]
    assert list(Registry(store).verify()) == []
    serving = load_champion(store)
    users = pl.read_parquet(
        store.root / "data" / "versions" / result["data_version"] / "mappings.parquet"
    ).filter(pl.col("kind") == "user")
    items = serving.recommend(users["id"][0], 10)
    assert len(items) == 10
    assert all(0 <= one.normalized <= 1 and one.title for one in items)


def test_artifacts_are_complete_and_agree_with_each_other(night):
    _, result, output = night
    for model in ("als", "bpr"):
        directory, facts = output / model, result["models"][model]
        U = np.load(directory / f"{model}_U.npy", allow_pickle=False)
        V = np.load(directory / f"{model}_V.npy", allow_pickle=False)
        assert U.dtype == V.dtype == np.float32
        assert U.shape == (result["data"]["users"], facts["settings"]["factors"])
        assert V.shape == (result["data"]["items"], facts["settings"]["factors"])
        per_user = pl.read_parquet(directory / "per_user_metrics.parquet")
        for name in ("recall@10", "ndcg@20", "map@10"):
            assert per_user[name].mean() == pytest.approx(facts["metrics"][name])
        history = pl.read_csv(directory / "training_history.csv")
        assert history.height == facts["iterations"]
        names = {path.name for path in directory.iterdir()}
        wanted = {f"{model}_{part}.json" for part in ("params", "metrics", "metadata")}
        assert wanted | {"mappings.parquet", "report.html", "seen_items.npz", "item_popularity.npy"} <= names
    assert "<html" in (output / "report.html").read_text()


def test_score_range_is_that_of_unseen_scores(night):
    store, result, output = night
    model = "bpr"
    measured = ScoreRange.from_json(result["models"][model]["score_range"])
    assert measured.method == "validation_set"
    U, V = (np.load(output / model / f"{model}_{side}.npy", allow_pickle=False) for side in "UV")
    version = store.root / "data" / "versions" / result["data_version"]
    users = pl.read_parquet(version / "val_interactions.parquet")["user_idx"].unique().sort().to_numpy()
    seen = np.load(output / model / "seen_items.npz", allow_pickle=False)
    scores = (U[users].astype(np.float64) @ V.T.astype(np.float64)).astype(np.float64)
    for row, user in enumerate(users):
        scores[row, seen["indices"][seen["indptr"][user] : seen["indptr"][user + 1]]] = np.nan
    unseen = scores[~np.isnan(scores)]
    assert measured.num_samples == len(unseen)
    for name, value in (("p01", 1), ("p50", 50), ("p99", 99)):
        assert getattr(measured, name) == pytest.approx(np.percentile(unseen, value), abs=1e-3)
    assert measured.mean == pytest.approx(unseen.mean(), abs=1e-4)
    normalized = measured.normalize(unseen)
    assert normalized.min() == 0
    assert normalized.max() == 1
