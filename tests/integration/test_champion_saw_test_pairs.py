"""Nights whose champion was trained on test pairs, as one is that `tuning.refit_all` made and a person promoted."""

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.npz import read_arrays, write_arrays
from recsys.cf.data.prepare import prepare
from recsys.cf.evaluation.significance import paired_bootstrap
from recsys.config.load import load_config
from recsys.pipeline.nightly import run_nightly
from recsys.registry.artifact import fetch_model, new_version, read_manifest, stage_model
from recsys.registry.catalogue import Registry
from recsys.reporting.card import render_html
from recsys.reporting.tables import render_markdown
from recsys.storage.local import LocalStore

BPR = ["runtime.models=[bpr]", "bpr.preset=original", "bpr.negative_sampling=uniform", "bpr.factors=16"]
BPR += ["bpr.regularization=0.03", "bpr.epochs=12", "evaluation.bootstrap_resamples=1000"]
ALS = ["runtime.models=[als]", "als.preset=default", "als.factors=16", "als.iterations=5"]
ALS += ["als.regularization=30", "promotion.tolerance=0.9", "evaluation.bootstrap_resamples=1000"]
METRIC = "recall@10"


@pytest.fixture
def shop(tmp_path):
    """Return (store, result of a first night): its BPR serves, and never saw a test pair."""
    write_demo_shop(tmp_path / "raw", size="small", seed=5)
    store = LocalStore(tmp_path / "store")
    prepare(store, tmp_path / "raw" / "reviews.csv", None, load_config(None).data, seed=1)
    return store, run_nightly(str(store.root), load_config(None, BPR))


def promote_trained_on_test(store, result, share, folder):
    """Make champion the night's BPR, marked as trained on the test pairs of that share of the test users too.

    Returns their user_idx. The factors stay, so that its scores are known; the leak is read from the seen items.
    """
    data = load_processed_data(store, result["data_version"])
    users = data.test_interactions["user_idx"].unique().sort()
    leaked = users.head(round(share * len(users)))
    old = result["models"]["bpr"]["model_id"]
    place = fetch_model(store, old, folder / "model")
    arrays = read_arrays(place / "seen_items.npz")
    owner = [user for user in range(data.n_users) for _ in data.user_seen_train[user]]
    test = data.test_interactions.filter(pl.col("user_idx").is_in(leaked.implode()))
    pairs = pl.concat(
        [
            pl.DataFrame({"user_idx": owner, "item_idx": arrays["indices"]}).cast(pl.Int64),
            test.select("user_idx", "item_idx").cast(pl.Int64),
        ]
    ).sort("user_idx", "item_idx")
    bounds = pairs["user_idx"].to_numpy().searchsorted(np.arange(data.n_users + 1)).astype(np.int64)
    (place / "seen_items.npz").unlink()
    write_arrays(
        place / "seen_items.npz", {"indptr": bounds, "indices": pairs["item_idx"].to_numpy().astype(np.int32)}
    )
    (place / "manifest.json").unlink(missing_ok=True)
    facts = read_manifest(store, old)["facts"] | {"run_id": "study"}
    model_id = stage_model(store, "bpr", new_version(), place, facts=facts)
    registry = Registry(store)
    registry.register(
        model_id, "bpr", data_version=result["data_version"], run_id="study", metrics={"recall@10": 0.2}
    )
    registry.promote(model_id, reasons=["by hand: all data"])
    return leaked, model_id


def test_users_whose_test_pairs_it_saw_are_left_out_on_both_sides(shop, tmp_path):
    store, first = shop
    leaked, model_id = promote_trained_on_test(store, first, 0.3, tmp_path)
    night = run_nightly(str(store.root), load_config(None, ALS))
    before = night["champion_before"]
    champion, candidate = (
        pl.read_parquet(store.root / "runs" / one["run_id"] / name / "per_user_metrics.parquet")
        for one, name in ((first, "bpr"), (night, "als"))
    )
    assert champion["user_idx"].equals(candidate["user_idx"])
    clean = ~champion["user_idx"].is_in(leaked.implode())
    ours, theirs = (one.filter(clean)[METRIC].to_numpy() for one in (candidate, champion))
    expected = paired_bootstrap(
        ours, theirs, resamples=1000, level=0.95, seed=load_config(None).runtime.seed
    ).to_json()
    found = before["versus"]["als"]
    assert {key: found[key] for key in expected} == expected
    assert found["n_users"] == len(ours)
    assert before["users_left_out"] == len(leaked) == before["n_users"] - len(ours)
    assert before["common"]["versus"]["als"]["n_users"] == len(ours)
    (row,) = (one for one in night["comparisons"] if one["b"] == "champion")
    assert row["difference"] == expected["difference"]
    decision = night["decision"]
    assert decision["candidates"][0]["versus_champion"]["n_users_left_out"] == len(leaked)
    told = f"{len(leaked) / before['n_users']:.1%} of tonight's test users"
    (gate,) = (one for one in next(iter(decision["gates"].values())) if one["name"].startswith("not_worse"))
    assert gate["passed"]
    assert f"{model_id} on the same {len(ours)} users" in gate["reason"]
    for text in (gate["reason"], decision["reasons"][-1], render_markdown(night), render_html(night)):
        assert told in text.replace("&#x27;", "'")


def test_one_that_saw_all_stays_until_newer_data_come(shop, tmp_path):
    store, first = shop
    _, model_id = promote_trained_on_test(store, first, 1.0, tmp_path)
    same = run_nightly(str(store.root), load_config(None, ALS))
    assert same["decision"]["champion"] == model_id
    assert "not comparable" in " ".join(same["decision"]["reasons"])
    assert [one["b"] for one in same["comparisons"]] == ["popularity"]
    assert same["champion_before"]["common"] is None
    assert "not comparable" in render_html(same)

    reviews = pl.read_csv(tmp_path / "raw" / "reviews.csv", infer_schema=False)
    again = reviews.head(20).with_columns(pl.lit("2026-01-02 10:00:00").alias("cmt_date"))
    again.write_csv(tmp_path / "new.csv")
    newer = prepare(
        store, tmp_path / "new.csv", None, load_config(None).data, seed=1, append_to="latest"
    ).version
    night = run_nightly(str(store.root), load_config(None, ALS))
    decision = night["decision"]
    assert night["data_version"] == newer > first["data_version"]
    assert (decision["promote"], decision["champion"]) == (True, night["models"]["als"]["model_id"])
    assert "not comparable" in decision["reasons"][1]
    assert any(event.reasons == tuple(decision["reasons"]) for event in Registry(store).history())
