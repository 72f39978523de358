"""The shared Spark ground: sessions that come and go, errors that mean something, Parquet read from our store."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import psutil
import pytest
from spark_cluster import needs_spark, running_spark

from recsys.config.schema import SparkConfig
from recsys.errors import (
    ConfigError,
    DataError,
    EngineError,
    EngineUnavailable,
    ObjectNotFound,
    StoreUnavailable,
)
from recsys.storage.local import LocalStore
from recsys.storage.open import open_store

LOCAL = SparkConfig(master="local[2]", partitions=3, driver_memory="512m")


def store_with_rows(uri, tmp_path, n_files=2, n_rows=1000):
    """Put Parquet files of four row groups each into a store; return (keys, all rows)."""
    store, keys, frames = open_store(uri), [], []
    for number in range(n_files):
        rows = np.arange(number * n_rows, (number + 1) * n_rows)
        frame = pl.DataFrame(
            {
                "user_idx": rows.astype(np.int32),
                "user_id": [f"khách {row}" for row in rows],
                "confidence": (rows / 7).astype(np.float32),
                "liked": rows % 3 == 0,
            }
        )
        frame.write_parquet(tmp_path / "part.parquet", row_group_size=n_rows // 4)
        keys.append(f"rows/{number}.parquet")
        store.put_file(keys[-1], tmp_path / "part.parquet")
        frames.append(frame)
    return keys, pl.concat(frames)


def read_back(session, uri, keys, columns):
    from recsys.engines.spark_source import read_parquet

    return pl.from_arrow(read_parquet(session, uri, keys, columns).toArrow())


def test_a_master_that_does_not_answer_or_lacks_a_shared_directory_is_told_before_java_starts(monkeypatch):
    pytest.importorskip("pyspark", reason="pip install 'train-cf[spark]'")
    from recsys.engines import spark_session as module

    monkeypatch.setattr(module, "require_spark", lambda: None)
    monkeypatch.setattr(module, "_launched", lambda *_: pytest.fail("Java was started"))
    refused = module.spark_session(SparkConfig(master="spark://127.0.0.1:1"), "test")
    with (
        pytest.raises(EngineUnavailable, match=r"no Spark master answers at spark://127") as failure,
        refused,
    ):
        pass
    assert failure.value.retryable
    refused = module.spark_session(SparkConfig(master="spark://spark.example:7077"), "test")
    with pytest.raises(ConfigError, match="shared_directory is needed"), refused:
        pass


def test_without_java_the_error_says_which_java_is_needed(monkeypatch, tmp_path):
    pytest.importorskip("pyspark", reason="pip install 'train-cf[spark]'")
    from recsys.engines.spark_environment import require_spark

    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="needs Java 17 or newer: JAVA_HOME is"):
        require_spark()
    (tmp_path / "bin").mkdir()
    java = tmp_path / "bin" / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    with pytest.raises(ConfigError, match="is Java 11"):
        require_spark()


def test_without_the_extra_the_error_names_it(monkeypatch):
    from recsys.engines import spark_environment

    monkeypatch.setattr(spark_environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'train-cf\[spark\]'"):
        spark_environment.require_spark()


@needs_spark
def test_after_java_vanished_a_session_is_shared_while_it_is_used_and_leaves_nothing_behind(monkeypatch):
    from recsys.engines.spark_session import n_partitions, session_directory, spark_session

    def lose_java():
        with spark_session(LOCAL, "test") as session:
            session.sparkContext._gateway.proc.kill()
            session.range(10).count()

    with pytest.raises(EngineUnavailable) as failure:
        lose_java()
    assert failure.value.retryable
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    with spark_session(LOCAL, "test") as session:
        with spark_session(LOCAL, "inner") as inner:
            assert inner is session
        directory = session_directory(session)
        assert directory.is_dir()
        assert n_partitions(session, LOCAL) == 3
        assert n_partitions(session, SparkConfig()) == 4
        assert session.sparkContext._jvm.java.lang.System.getenv("OPENBLAS_NUM_THREADS") == "1"
        other = spark_session(SparkConfig(master="local[1]"), "other")
        with pytest.raises(ConfigError, match="one process has one"), other:
            pass
        versions = (
            session.range(4, numPartitions=2).mapInArrow(python_of_executor(), "python string").collect()
        )
        assert {row.python for row in versions} == {sys.executable}
        java = session.sparkContext._gateway.proc
    assert not directory.exists()
    assert java.poll() is not None
    assert "PYSPARK_PYTHON" not in os.environ


def python_of_executor():
    def rows(batches):  # local, so that it travels whole: executors do not have this file
        import pyarrow

        for _ in batches:
            yield pyarrow.RecordBatch.from_pydict({"python": [sys.executable]})

    return rows


@needs_spark
def test_objects_of_a_store_become_rows_and_errors_of_executors_come_out_as_themselves(tmp_path):
    from recsys.engines.spark_session import spark_session
    from recsys.engines.spark_source import read_parquet

    uri = str(tmp_path / "store")
    keys, rows = store_with_rows(uri, tmp_path)
    LocalStore(tmp_path / "store").put_new("rows/text.parquet", b"this is no Parquet file")
    with spark_session(LOCAL, "test") as session:
        table = read_parquet(session, uri, keys, ["confidence", "user_idx"])
        assert table.rdd.getNumPartitions() == 8
        back = pl.from_arrow(table.toArrow()).sort("user_idx")
        assert back.equals(rows.select("confidence", "user_idx"))
        for error, message, failing in (
            (DataError, "lacks the columns rating", lambda: read_back(session, uri, keys, ["rating"])),
            (ObjectNotFound, "does not exist", lambda: read_back(session, uri, ["no/such"], ["rating"])),
            (DataError, "no Parquet", lambda: read_back(session, uri, ["rows/text.parquet"], ["rating"])),
            (
                StoreUnavailable,
                "away",
                lambda: session.range(9).mapInArrow(failing_store(), "id long").count(),
            ),
            (EngineError, "nowhere", lambda: session.sql("select 1 from nowhere")),
        ):
            with pytest.raises(error, match=message), spark_session(LOCAL, "inner"):
                failing()


def failing_store():
    def rows(batches):
        raise StoreUnavailable(f"the store is away ({len(list(batches))})")
        yield

    return rows


def two_executors(cluster):
    """Return the executors' processes once both run; one of them can do a small job alone."""
    deadline = time.monotonic() + 120
    while len(pids := cluster.executor_pids()) < 2:
        assert time.monotonic() < deadline, pids
        time.sleep(0.1)
    return [psutil.Process(pid) for pid in pids]


@needs_spark
def test_two_workers_read_from_s3_with_their_own_credentials(tmp_path, s3):
    from recsys.engines.spark_session import spark_session

    uri = s3.new_uri()
    keys, rows = store_with_rows(uri, tmp_path)
    with running_spark(tmp_path / "cluster") as cluster:
        config = SparkConfig(master=cluster.master, executor_memory="512m", driver_memory="512m")
        with spark_session(config, "test") as session:
            assert read_back(session, uri, keys, rows.columns).sort("user_idx").equals(rows)
            executors = two_executors(cluster)
    assert not any(process.is_running() for process in executors)


@needs_spark
def test_nothing_of_spark_reaches_standard_output(tmp_path):
    program = (
        "from recsys.config.schema import SparkConfig\n"
        "from recsys.engines.spark_session import spark_session\n"
        "with spark_session(SparkConfig(master='local[1]'), 'test') as session:\n"
        "    print(session.range(7).count())\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        timeout=200,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("7\n", "")
    assert list(tmp_path.iterdir()) == []
