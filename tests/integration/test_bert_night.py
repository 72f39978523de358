"""Nights that start from product embeddings: what is trained, registered, told, and served."""

import json
import sys

import numpy as np
import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.embeddings import read_product_embeddings
from recsys.cf.data.load import load_processed_data
from recsys.cf.data.prepare import prepare
from recsys.cf.embeddings.load import aligned_embeddings
from recsys.cf.embeddings.map import fit_item_map, item_map_file, read_item_map
from recsys.cf.embeddings.project import project
from recsys.cf.models.als_start import INIT_NORM
from recsys.cf.models.item_start import ItemStart
from recsys.cli.main import run as recsys
from recsys.config.load import load_config
from recsys.errors import ConfigError, DataError, NotEnoughMemory
from recsys.pipeline.nightly import run_nightly
from recsys.pipeline.run import open_run
from recsys.registry import load_model
from recsys.registry.artifact import fetch_model
from recsys.storage.local import LocalStore

SETTINGS = [
    *(
        "als.preset=default",
        "als.factors=16",
        "als.iterations=6",
        "als.regularization=30",
        "als.use_gpu=false",
    ),
    *("bpr.preset=original", "bpr.factors=16", "bpr.epochs=10", "bpr.negative_sampling=uniform"),
    "data.min_item_positives=1",
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Return a place with a store, and embeddings of all products made from their titles."""
    place = tmp_path_factory.mktemp("shop")
    write_demo_shop(place / "raw", size="small", seed=5)
    with pytest.raises(SystemExit) as left:
        recsys(
            ["embed", str(place / "raw" / "products.csv"), "--output", str(place / "titles.npz"), "--json"]
        )
    assert not left.value.code
    store = LocalStore(place / "store")
    prepare(
        store,
        place / "raw" / "reviews.csv",
        place / "raw" / "products.csv",
        load_config(None, SETTINGS).data,
        seed=1,
        embeddings=place / "titles.npz",
    )
    return place


def night(place, *settings):
    config = load_config(None, [*SETTINGS, *settings])
    return run_nightly(str(place / "store"), config)


def metadata(place, result, model):
    model_id = result["models"][model]["model_id"]
    directory = fetch_model(LocalStore(place / "store"), model_id, place / model_id)
    return directory, json.loads((directory / f"{model}_metadata.json").read_bytes())


@pytest.fixture(scope="module")
def results(shop):
    """Return the night from random starts and the one from embeddings."""
    return night(shop), night(shop, "bert.init=both", "bert.projection=pca", "bert.freeze_first_iter=true")


def test_the_metadata_tells_of_the_embeddings(shop, results):
    plain, bert = results
    assert metadata(shop, plain, "als")[1]["bert_initialization"] == {"enabled": False}
    for model in ("als", "bpr"):
        found = metadata(shop, bert, model)[1]["bert_initialization"]
        assert found["enabled"]
        assert found["embeddings_path"] == f"data version {bert['data_version']}"
        assert (found["embedding_name"], found["embedding_version"]) == ("ngrams", "1")
        assert (found["projection_method"], found["original_dim"], found["projected_dim"]) == ("pca", 512, 16)
        assert 0 < found["explained_variance"] < 1
        assert found["coverage"] == 1.0
        assert found["freeze_first_iter"] == (model == "als")  # BPR has no sweeps to freeze


def test_the_random_start_beside_it_is_the_night_without_embeddings(results):
    plain, bert = results
    assert plain["run_id"] != bert["run_id"]
    for model in ("als", "bpr"):
        ours = bert["models"][model]
        assert plain["models"][model]["factors_sha256"] != ours["factors_sha256"]
        assert ours["random_start"]["metrics"] == pytest.approx(plain["models"][model]["metrics"])
        assert plain["models"][model]["random_start"] is None
        theirs = plain["models"][model]["cold_start_performance"]["recall@10"]
        gain = ours["cold_start_performance"]["improvement_vs_random"]
        found = ours["cold_start_performance"]["recall@10"]
        assert gain == (pytest.approx(found / theirs - 1) if theirs else None)


def test_every_model_carries_the_map_of_its_factors_and_serves_new_items(shop, results):
    store, data = LocalStore(shop / "store"), load_processed_data(LocalStore(shop / "store"))
    for result in results:
        for model in ("als", "bpr"):
            directory, told = metadata(shop, result, model)
            found = read_item_map(directory / item_map_file(model))
            V = np.load(directory / f"{model}_V.npy")
            config = load_config(None, SETTINGS).bert
            expected = fit_item_map(aligned_embeddings(store, data, config), V, data.item_train_counts)
            assert np.array_equal(found.weights, expected.weights)
            assert told["item_map"] == {"enabled": True, **expected.facts()}
    new = read_product_embeddings(shop / "titles.npz")
    new = type(new)(new.embeddings[:3], ("new-1", "new-2", "new-3"), new.name, new.version)
    served = load_model(store, results[0]["models"]["als"]["model_id"], cache_dir=shop / "cache")
    user = data.mappings.user_ids[0]
    offered = {one.item_id for one in served.with_new_items(new).recommend(user, k=data.n_items)}
    assert {"new-1", "new-2", "new-3"} <= offered


def test_recommend_offers_items_of_a_file(shop, results, capsys):
    user = load_processed_data(LocalStore(shop / "store")).mappings.user_ids[0]
    np.savez(
        shop / "new.npz",
        embeddings=read_product_embeddings(shop / "titles.npz").embeddings[:1] * 50,
        item_ids=np.array(["new-1"]),
        name=np.array("ngrams"),
        version=np.array("1"),
    )
    arguments = ["recommend", user, "--store", str(shop / "store"), "--new-items", str(shop / "new.npz")]
    with pytest.raises(SystemExit) as left:
        recsys([*arguments, "--model", results[0]["models"]["als"]["model_id"], "--k", "100000", "--json"])
    assert not left.value.code
    assert "new-1" in [one["item_id"] for one in json.loads(capsys.readouterr().out)["items"]]


def test_a_shop_without_embeddings_is_told_before_training(shop, tmp_path):
    store = LocalStore(tmp_path / "store")
    prepare(store, shop / "raw" / "reviews.csv", None, load_config(None, SETTINGS).data, seed=1)
    with pytest.raises(DataError, match="has no product embeddings; make them with `recsys embed`"):
        night(tmp_path, "bert.init=als")
    result = night(tmp_path, "runtime.models=[als]")
    told = metadata(tmp_path, result, "als")[1]["item_map"]
    assert told == {"enabled": False, "reason": "the data version has no product embeddings"}


def test_a_file_besides_the_data_version_is_part_of_the_run(shop, tmp_path):
    store, path = str(shop / "store"), tmp_path / "e.npz"
    embeddings = read_product_embeddings(shop / "titles.npz")
    setting = f"bert.embeddings_path={path}"
    ids = []
    for scale in (1.0, 2.0):
        np.savez(path, embeddings=embeddings.embeddings * scale, item_ids=np.array(embeddings.item_ids))
        ids.append(open_run(store, load_config(None, [*SETTINGS, setting])).run_id)
    assert ids[0] != ids[1]
    np.savez(path, embeddings=embeddings.embeddings[:2], item_ids=np.array(embeddings.item_ids[:2]))
    data = load_processed_data(LocalStore(shop / "store"))
    with pytest.raises(DataError, match=r"cover .*% of"):
        aligned_embeddings(LocalStore(shop / "store"), data, load_config(None, [setting]).bert)
    path.unlink()
    with pytest.raises(ConfigError, match="embeddings_path"):
        open_run(store, load_config(None, [*SETTINGS, setting]))


def test_a_file_that_this_machine_cannot_read_ends_the_night_before_training(shop, tmp_path, monkeypatch):
    (tmp_path / "e.pt").write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"pip install 'train-cf\[torch\]'"):
        open_run(
            str(shop / "store"), load_config(None, [*SETTINGS, f"bert.embeddings_path={tmp_path / 'e.pt'}"])
        )


def test_an_anchored_night_keeps_items_nobody_bought_near_their_text(shop):
    settings = ["als.solver=native", "bert.anchored=true", "runtime.models=[als]"]
    result = night(shop, *settings)
    directory, told = metadata(shop, result, "als")
    found = told["bert_initialization"]
    assert found["enabled"]
    assert found["anchored"]
    data = load_processed_data(LocalStore(shop / "store"))
    V = np.load(directory / "als_V.npy")
    config = load_config(None, [*SETTINGS, *settings])
    embeddings = aligned_embeddings(LocalStore(shop / "store"), data, config.bert)
    anchor = ItemStart(
        project(embeddings, 16, "svd", seed=config.runtime.seed), config.bert.anchor_scale
    ).vectors(INIT_NORM)
    unbought, few = data.item_train_counts == 0, data.item_train_counts == 1
    assert unbought.any()
    np.testing.assert_allclose(V[unbought], anchor[unbought], rtol=1e-6)
    moved = np.linalg.norm(V - anchor, axis=1)
    assert 0 < np.median(moved[few]) < np.median(moved[data.item_train_counts > 20])
    assert result["models"]["als"]["random_start"]["metrics"]["recall@10"] > 0


def test_memory_that_only_the_comparison_lacks_costs_no_trained_model(shop, monkeypatch):
    asked = []

    def refuse_the_second(run, data, dimensions):
        asked.append(run)
        if len(asked) > 1:
            raise NotEnoughMemory("none left")

    monkeypatch.setattr("recsys.pipeline.fitter.require_memory_of_run", refuse_the_second)
    result = night(shop, "runtime.models=[als]", "bert.init=als", "als.iterations=5")
    assert len(asked) == 2
    assert result["models"]["als"]["metrics"]["recall@10"] > 0
    assert result["models"]["als"]["random_start"] is None


def test_compare_init_without_a_model_that_embeddings_start_is_refused(shop, capsys):
    arguments = ["compare-init", "--store", str(shop / "store"), "--set", "runtime.models=[hybrid]"]
    with pytest.raises(SystemExit) as left:
        recsys(arguments)
    assert left.value.code == 2
    assert "add als or bpr" in capsys.readouterr().err


def test_compare_init_tells_each_variant_beside_the_random_start(shop, capsys):
    arguments = ["compare-init", "--store", str(shop / "store"), "--json", "--set", "bert.anchor_scale=1"]
    for setting in SETTINGS:
        arguments += ["--set", setting]
    with pytest.raises(SystemExit) as left:
        recsys(arguments)
    printed = capsys.readouterr()
    assert not left.value.code, printed.err
    document = json.loads(printed.out)
    test, unseen = document["protocols"]["test"], document["protocols"]["unseen"]
    names = [
        *[("als", one) for one in ("random", "bert_init", "anchored", "map")],
        *[("bpr", one) for one in ("random", "bert_init", "map")],
        *[(one, "") for one in ("popularity", "similarity", "chance")],
    ]
    protocols = [(test["rows"], "random"), (unseen["rows"], "random"), (unseen["hidden_only"], "chance")]
    for rows, beside in protocols:
        assert [(row["model"], row["variant"]) for row in rows] == names
        recall = {(row["model"], row["variant"]): row["metrics"]["recall@10"] for row in rows}
        for row in rows:
            name = (row["model"], row["variant"])
            other = (row["model"], "random") if beside == "random" else ("chance", "")
            told = row.get(f"versus_{beside}")
            assert (told is None) == (name == other or (beside == "random" and not row["variant"]))
            if told is not None:
                interval = told["recall@10"]
                assert interval["difference"] == pytest.approx(recall[name] - recall[other])
                assert interval["low"] <= interval["difference"] <= interval["high"]
    assert test["cold_pairs"] > 0
    assert all(row["cold_recall@10"] is not None for row in test["rows"])
    # nobody bought hidden items: popularity and a random start cannot find them among all items
    all_items = {(row["model"], row["variant"]): row["metrics"]["recall@10"] for row in unseen["rows"]}
    assert all_items["popularity", ""] == 0
    assert all_items["als", "anchored"] > all_items["als", "random"]
