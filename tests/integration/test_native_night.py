"""A night whose ALS is the native solver, with every setting that only it has."""

import os

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.load import load_config
from recsys.errors import ConfigError
from recsys.pipeline.nightly import run_nightly
from recsys.registry.catalogue import Registry
from recsys.storage.local import LocalStore

SETTINGS = [
    *(
        "als.preset=default",
        "als.solver=native",
        "als.factors=8",
        "als.iterations=5",
        "als.regularization=10",
    ),
    *("als.regularization_exponent=0.5", "als.unobserved_weight=0.3", "als.preference=continuous"),
    "runtime.models=[als]",
]


def test_a_night_with_the_native_solver_ends_with_a_registered_model(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)
    write_demo_shop(tmp_path / "raw", size="small", seed=5)
    store, config = LocalStore(tmp_path / "store"), load_config(None, SETTINGS)
    prepare(store, tmp_path / "raw" / "reviews.csv", tmp_path / "raw" / "products.csv", config.data, seed=1)
    nights = [
        run_nightly(store.uri, load_config(None, [*SETTINGS, f"runtime.threads={n}"]), force=True)
        for n in (1, 2)
    ]
    first, second = (night["models"]["als"] for night in nights)
    assert first["factors_sha256"] == second["factors_sha256"]
    assert first["settings"]["solver"] == "native"
    assert first["settings"]["preference"] == "continuous"
    assert first["metrics"]["recall@10"] > first["baseline"]["recall@10"]
    assert len(Registry(store).list("als")) == 2


def test_a_solver_that_cannot_is_refused_where_the_configuration_is_read():
    with pytest.raises(ConfigError, match="unobserved_weight other than 1 needs solver native"):
        load_config(None, ["als.unobserved_weight=0.5"])
    with pytest.raises(ConfigError, match="needs regularization > 0"):
        load_config(None, ["als.solver=native", "als.regularization=0"])
