"""The flow with three models: all branches run at once, and the hybrid may fail without the others."""

import json
from datetime import datetime
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from test_train_cf import call

from recsys.cf.data.demo import write_demo_shop

pytest.importorskip("torch", reason="the extra torch is not installed")

THREE = [
    "--set",
    "runtime.models=[als, bpr, hybrid]",
    "--set",
    "als.preset=default",
    "--set",
    "bpr.preset=original",
]
LONG = [
    # long enough that trainings which run at once must overlap: the hybrid's begins when torch is imported
    *("--set", "als.iterations=1200", "--set", "als.patience=1200"),
    *("--set", "bpr.epochs=2800", "--set", "bpr.patience=2800"),
    *("--set", "hybrid.epochs=10", "--set", "hybrid.factors=16"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a directory with two stores: all has vectors of every product, few of three."""
    directory = tmp_path_factory.mktemp("three")
    write_demo_shop(directory / "raw", size="small", seed=3)
    products = pl.read_csv(directory / "raw" / "products.csv", infer_schema=False)["product_id"].to_list()
    vectors = np.random.default_rng(0).standard_normal((len(products), 12)).astype(np.float32)
    for store, n_known in (("all", len(products)), ("few", 3)):
        np.savez(directory / f"{store}.npz", embeddings=vectors[:n_known], item_ids=products[:n_known])
        arguments = ("prepare", "raw/reviews.csv", "--store", store, "--embeddings", f"{store}.npz", "--json")
        done = call(directory, "recsys", *arguments)
        assert done.returncode == 0, done.stderr
    return directory


def test_three_branches_run_at_once(place):
    done = call(place, "flows.train_cf", "--store", "all", "--json", *THREE, *LONG)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    intervals = {
        model: [datetime.fromisoformat(moment) for moment in facts["intervals"]]
        for model, facts in result["models"].items()
    }
    assert set(intervals) == {"als", "bpr", "hybrid"}
    for a, b in combinations(intervals.values(), 2):
        assert max(a[0], b[0]) < min(a[1], b[1])
    for facts in result["models"].values():
        assert facts["model_id"]


def test_a_failed_hybrid_leaves_the_others_registered_and_the_run_failed(place):
    done = call(place, "flows.train_cf", "--store", "few", *THREE)
    assert done.returncode == 5
    assert "hybrid" in done.stderr
    assert "bert.min_coverage" in done.stderr
    listed = json.loads(call(place, "recsys", "registry", "list", "--store", "few", "--json").stdout)
    assert {model["model_type"] for model in listed["models"]} == {"als", "bpr"}
