"""Which engine prepares: chosen by option or configuration, and no part of what a version is."""

import json

import pytest

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.engine import LocalEngine, prepare_engine
from recsys.cf.data.prepare import prepare
from recsys.cli.main import run
from recsys.config.schema import DataConfig, SparkConfig
from recsys.errors import EngineUnavailable
from recsys.storage.local import LocalStore

NOBODY = "spark://127.0.0.1:1"  # nothing listens there


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_demo_shop(
        tmp_path_factory.mktemp("raw"), size="small", seed=2, users=300, interactions=2_000
    )


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        run([str(one) for one in arguments])
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


def test_the_engine_is_the_one_that_is_named():
    assert isinstance(prepare_engine("local", SparkConfig()), LocalEngine)
    config = SparkConfig(master=NOBODY)
    assert prepare_engine("spark", config).config == config


@pytest.mark.parametrize("options", [["--engine", "spark"], ["--set", "runtime.engine=spark"]])
def test_a_version_of_one_engine_is_found_by_the_other_before_spark_starts(capsys, shop, tmp_path, options):
    made = prepare(LocalStore(tmp_path), shop.reviews, None, DataConfig(), seed=42)
    chosen = [*options, "--set", f"spark.master={NOBODY}"]
    code, out, err = called(capsys, "prepare", shop.reviews, "--store", tmp_path, "--json", *chosen)
    assert code == 0, err
    found = json.loads(out)
    assert (found["version"], found["created"]) == (made.version, False)


def test_a_cluster_that_does_not_answer_is_said_and_nothing_is_left(shop, tmp_path):
    pytest.importorskip("pyspark", reason="pip install 'train-cf[spark]'")
    store, shared = LocalStore(tmp_path / "store"), tmp_path / "shared"
    engine = prepare_engine("spark", SparkConfig(master=NOBODY, shared_directory=str(shared)))
    with pytest.raises(EngineUnavailable, match="no Spark master answers"):
        prepare(store, shop.reviews, None, DataConfig(), seed=1, engine=engine)
    assert not list(shared.iterdir())
    assert not list(store.list())


def test_an_unknown_engine_is_a_usage_error(capsys, shop, tmp_path):
    code, _, err = called(capsys, "prepare", shop.reviews, "--store", tmp_path, "--engine", "dask")
    assert code == 2
    assert "engine.prepare" in err
