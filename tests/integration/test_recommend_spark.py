"""Batch recommendations on Spark: the bytes of one machine, on local threads and on a real cluster."""

import json

import pytest
from listed_models import parquet_of, store_with_champion
from spark_cluster import needs_spark, running_spark

from recsys.config.load import load_config
from recsys.errors import IntegrityError
from recsys.pipeline.list_set import open_set
from recsys.pipeline.recommend_all import recommend_all

pytestmark = [pytest.mark.slow, needs_spark]
FILES = "recommend.rows_per_file=64"  # 300 users: five files
ON_SPARK = ("runtime.engine.recommend=spark", "spark.driver_memory=512m", "spark.executor_memory=512m")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def made(store, *settings):
    return recommend_all(store.uri, load_config(None, [FILES, *settings]))


def local_bytes(store):
    """Return the set as one machine makes it, and remove it."""
    result = made(store)
    return result["prefix"], taken(store, result["prefix"])


def taken(store, prefix):
    found = parquet_of(store, prefix)
    for name in found:
        store.delete(f"{prefix}/{name}")
    return found


@pytest.mark.parametrize("method", ["exact", "hnsw"])
def test_threads_of_spark_write_the_bytes_of_one_machine(tmp_path, method):
    if method == "hnsw":
        pytest.importorskip("faiss", reason="pip install 'train-cf[ann]'")
    store = store_with_champion(tmp_path / "store", n_items=1500)
    settings = (f"recommend.method={method}",)
    prefix = made(store, *settings)["prefix"]
    expected = taken(store, prefix)
    result = made(store, *settings, *ON_SPARK, "spark.master=local[2]")
    assert result["prefix"] == prefix
    assert result["engine"] == "spark"
    assert parquet_of(store, prefix) == expected


def test_a_cluster_writes_the_bytes_of_one_machine_also_what_lacks(tmp_path):
    store = store_with_champion(tmp_path / "store")
    prefix, expected = local_bytes(store)
    cluster_folder = tmp_path / "cluster"
    cluster_folder.mkdir()
    with running_spark(cluster_folder) as cluster:
        settings = (*ON_SPARK, f"spark.master={cluster.master}")
        assert made(store, *settings)["users_per_second"] > 0
        assert parquet_of(store, prefix) == expected
        for name in ("manifest.json", "part-00003.parquet"):
            store.delete(f"{prefix}/{name}")
        made(store, *settings)
    assert parquet_of(store, prefix) == expected


def test_an_error_on_an_executor_is_ours(tmp_path, monkeypatch):
    store = store_with_champion(tmp_path / "store")
    lists = open_set(store.uri, load_config(None, [FILES, *ON_SPARK, "spark.master=local[2]"]))
    from recsys.pipeline.recommend_spark import write_parts_on_spark

    broken = lists.model_copy(update={"manifest_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="manifest that was registered"):
        write_parts_on_spark(broken, [0])
    assert json.dumps(write_parts_on_spark(lists, [1])[1])
