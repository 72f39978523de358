"""`recsys evaluate` and `recsys compare` on registered models, and what a night with embeddings measures besides."""

import json

import numpy as np
import polars as pl
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cli.main import run as recsys
from recsys.config.load import load_config
from recsys.errors import NotEnoughMemory
from recsys.pipeline import testbed
from recsys.pipeline.nightly import run_nightly
from recsys.storage.local import LocalStore

SETTINGS = [
    *("als.preset=default", "als.factors=16", "als.iterations=6", "als.regularization=30"),
    *("bpr.preset=original", "bpr.factors=16", "bpr.epochs=12", "bpr.negative_sampling=uniform"),
    *("evaluation.auc=true", "evaluation.diversity=true"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return (store, results of two nights); the second night has the reviews of another month."""
    place = tmp_path_factory.mktemp("shop")
    write_demo_shop(place / "raw", size="small", seed=5)
    reviews = pl.read_csv(place / "raw" / "reviews.csv", infer_schema=False)
    products = pl.read_csv(place / "raw" / "products.csv", infer_schema=False)["product_id"].to_list()
    vectors = np.random.default_rng(0).standard_normal((len(products), 12)).astype(np.float32)
    np.savez(place / "vectors.npz", embeddings=vectors, item_ids=np.array(products))
    store, config, results = LocalStore(place / "store"), load_config(None, SETTINGS), []
    for night, until in enumerate(("2024-12-01", "2026-01-01")):
        raw = place / f"night{night}.csv"
        reviews.filter(pl.col("cmt_date") < until).write_csv(raw)
        prepare(
            store,
            raw,
            place / "raw" / "products.csv",
            config.data,
            seed=1,
            embeddings=place / "vectors.npz",
        )
        results.append(run_nightly(str(place / "store"), config))
    return store, results


def call(capsys, *arguments):
    """Return the JSON document of a command that ends well."""
    with pytest.raises(SystemExit) as left:
        recsys([*arguments, "--json"])
    printed = capsys.readouterr()
    assert not left.value.code, printed.err
    return json.loads(printed.out)


def leaked_pairs(store, trained_on, tested_on):
    """Return (test pairs of one night that are in the training data of the other, all its test pairs)."""
    train, test = (load_processed_data(store, one["data_version"]) for one in (trained_on, tested_on))
    seen = {
        (train.mappings.user_ids[user], train.mappings.item_ids[item])
        for user in range(train.n_users)
        for item in train.user_seen_train[user]
    }
    pairs = [
        (test.mappings.user_ids[user], test.mappings.item_ids[item])
        for user, item in test.test_interactions.select("user_idx", "item_idx").iter_rows()
    ]
    return [pair for pair in pairs if pair in seen], pairs


def place_of(store):
    return ("--store", str(store.root))


def common(*extra):
    return tuple(word for one in [*SETTINGS, *extra] for word in ("--set", one))


def test_a_model_is_measured_as_its_own_night_measured_it(shop, capsys):
    store, results = shop
    facts = results[1]["models"]["bpr"]
    found = call(capsys, "evaluate", facts["model_id"], *place_of(store), *common())
    for key in ("metrics", "baseline", "improvement", "difference", "power", "strata"):
        assert found[key] == facts[key], key
    assert found["cold_start_performance"] == facts["cold_start_performance"]
    assert found["baselines"] == results[1]["baselines"]
    assert found["common_users"] == found["n_users"]
    assert (found["test_pairs_in_its_training"], found["warnings"]) == (0, [])


def test_a_night_with_embeddings_measures_content_diversity_and_newcomers(shop):
    _, results = shop
    result = results[0]
    assert list(result["baselines"]) == ["popularity", "popularity_recent", "similarity", "random"]
    assert 0 < result["models"]["als"]["metrics"]["diversity@10"] < 2
    assert (
        result["models"]["als"]["metrics"]["auc"] > 0.7 > 0.55 > result["baselines"]["random"]["auc"] > 0.45
    )
    cold = result["cold_users"]
    # random vectors say nothing: content must not beat popularity
    assert cold["one_event"]["content"]["recall@10"] < cold["one_event"]["popularity"]["recall@10"]
    assert cold["no_history"]["users"] > 100
    assert result["models"]["als"]["cold_start_performance"]["improvement_vs_random"] is None


def test_an_older_model_is_measured_on_newer_data_by_the_shops_ids(shop, capsys):
    store, results = shop
    old = results[0]["models"]["als"]["model_id"]
    found = call(capsys, "evaluate", old, *place_of(store), *common())
    assert found["data_version"] == results[1]["data_version"]
    assert found["trained_on"] == results[0]["data_version"]
    assert found["common_users"] < found["n_users"]
    # what is tested now had not happened then, but for whoever reviewed the same item again
    assert found["test_pairs_in_its_training"] == len(leaked_pairs(store, results[0], results[1])[0]) <= 3


def test_a_newer_model_on_older_data_is_warned_about(shop, capsys):
    store, results = shop
    new, old_data = results[1]["models"]["bpr"]["model_id"], results[0]["data_version"]
    found = call(capsys, "evaluate", new, *place_of(store), "--data-version", old_data, *common())
    leaked, pairs = leaked_pairs(store, results[1], results[0])
    assert len(leaked) > 10
    assert found["test_pairs_in_its_training"] == len(leaked)
    assert f"trained on {len(leaked)} of the {len(pairs)} test pairs" in found["warnings"][0]


def test_two_models_are_compared_on_the_same_users(shop, capsys):
    store, results = shop
    als, bpr = (results[1]["models"][name]["model_id"] for name in ("als", "bpr"))
    found = call(capsys, "compare", als, bpr, *place_of(store), *common())
    row = next(one for one in found["metrics"] if one["metric"] == "recall@10")
    night = next(one for one in results[1]["comparisons"] if (one["a"], one["b"]) == ("als", "bpr"))
    for key in ("difference", "low", "high", "relative", "p_value", "n_users"):
        assert row[key] == night[key], key
    assert row["difference"] == pytest.approx(row["a"] - row["b"])
    back = call(capsys, "compare", bpr, als, *place_of(store), *common())
    assert back["metrics"][0]["difference"] == pytest.approx(-found["metrics"][0]["difference"])
    assert all(one["p_adjusted"] >= one["p_value"] for one in found["metrics"])


def test_a_model_compared_with_itself_does_not_differ(shop, capsys):
    store, results = shop
    als = results[1]["models"]["als"]["model_id"]
    for row in call(capsys, "compare", als, als, *place_of(store), *common())["metrics"]:
        assert (row["difference"], row["low"], row["high"], row["p_value"]) == (0, 0, 0, 1)


def test_people_get_a_table(shop, capsys):
    store, results = shop
    als, bpr = (results[1]["models"][name]["model_id"] for name in ("als", "bpr"))
    for command in (("evaluate", als), ("compare", als, bpr)):
        with pytest.raises(SystemExit):
            recsys([*command, *place_of(store), *common()])
        printed = capsys.readouterr()
        assert "recall@10" in printed.out
        assert als in printed.out
        assert "would be missed" in printed.err


def test_a_model_that_is_not_registered_is_one_line_and_exit_4(shop, capsys):
    store, _ = shop
    with pytest.raises(SystemExit) as left:
        recsys(["evaluate", "als_nobody", *place_of(store)])
    assert left.value.code == 4
    assert "no model 'als_nobody'" in capsys.readouterr().err


def test_too_little_memory_ends_the_stage_before_it_starts(shop, monkeypatch):
    store, results = shop
    data, config = load_processed_data(store, results[1]["data_version"]), load_config(None, SETTINGS)
    plenty = testbed.open_testbed(store, data, config)
    assert plenty.block_users == config.evaluation.block_users
    tile_bytes = 4 * 128 * data.n_items * 4  # what a thread holds of its tile at most
    for module in ("recsys.pipeline.testbed", "recsys.cf.models.memory"):
        monkeypatch.setattr(f"{module}.free_memory_bytes", lambda: 5 * tile_bytes)
    assert testbed.open_testbed(store, data, config).block_users == 2 * 128
    monkeypatch.setattr("recsys.cf.models.memory.free_memory_bytes", lambda: tile_bytes)
    with pytest.raises(NotEnoughMemory, match="evaluation needs about"):
        testbed.open_testbed(store, data, config)
