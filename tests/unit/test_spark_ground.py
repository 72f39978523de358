"""What is decided before and around Spark, without its Java: addresses, settings, directories, whose error it was."""

import io
import logging
import os
import stat
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from recsys.cf.data.engine import prepare_engine
from recsys.config.schema import SparkConfig, TrainingConfig
from recsys.engines import available, spark_environment
from recsys.engines.spark_environment import java_path, own_directory, require_cluster, spark_settings
from recsys.engines.spark_errors import translated_spark_errors
from recsys.errors import ConfigError, EngineUnavailable

SHARED = {"shared_directory": "/mnt/shared"}


@pytest.mark.parametrize(
    "master",
    [
        "sprk://host:7077",
        "spark://host",
        "spark://host:123456",
        "spark://a:1,b",
        "local[0]",
        "local[]",
        "loca",
        "yarn-client",
        "k8s://",
        "",
    ],
)
def test_an_address_that_spark_does_not_know_is_refused_when_the_configuration_is_read(master):
    with pytest.raises(ValidationError, match=r"no address of a Spark master; use spark://host:port"):
        SparkConfig(master=master)


@pytest.mark.parametrize(
    "master",
    [
        *(
            "local",
            "local[*]",
            "local[4]",
            "local[*,3]",
            "local[2, 3]",
            "yarn",
            "k8s://https://10.0.0.1:6443",
        ),
        *("spark://10.0.0.1:7077", "spark://a.example:7077,b.example:7077", "spark://[::1]:7077"),
    ],
)
def test_an_address_that_spark_knows_is_taken(master):
    assert SparkConfig(master=master).master == master


def test_yarn_needs_the_directory_that_says_where_it_is(monkeypatch, tmp_path):
    yarn = SparkConfig(master="yarn", **SHARED)
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("YARN_CONF_DIR", raising=False)
    with pytest.raises(ConfigError, match="needs HADOOP_CONF_DIR or YARN_CONF_DIR"):
        require_cluster(yarn)
    monkeypatch.setenv("YARN_CONF_DIR", str(tmp_path))
    require_cluster(yarn)


def test_a_host_whose_name_cannot_be_is_an_error_of_the_configuration():
    with pytest.raises(ConfigError, match="is not spark://host:port"):
        require_cluster(SparkConfig(master="spark://a..b:7077", **SHARED))


def test_a_session_takes_the_cores_that_are_set_and_the_one_that_gets_none_is_told(monkeypatch, tmp_path):
    assert spark_settings(SparkConfig(cores=3), "test", tmp_path)["spark.cores.max"] == "3"
    assert "spark.cores.max" not in spark_settings(SparkConfig(), "test", tmp_path)
    from recsys.engines import spark_session

    monkeypatch.setattr(spark_session, "_EXECUTOR_SECONDS", 0)
    tracker = SimpleNamespace(getExecutorInfos=lambda: ["the driver"])
    context = SimpleNamespace(_jsc=SimpleNamespace(sc=lambda: SimpleNamespace(statusTracker=lambda: tracker)))
    with pytest.raises(EngineUnavailable, match=r"spark\.cores takes all cores"):
        spark_session._require_executors(SimpleNamespace(sparkContext=context), SparkConfig(), tmp_path)


def test_staged_rows_are_for_the_user_and_the_group_alone(tmp_path):
    config = SparkConfig(shared_directory=str(tmp_path / "shared"))
    with prepare_engine("spark", config).workspace() as work:
        assert stat.S_IMODE(work.stat().st_mode) == 0o770
        (work / "rows").mkdir()
    assert not work.exists()
    with prepare_engine("spark", SparkConfig()).workspace() as work:
        assert stat.S_IMODE(work.stat().st_mode) == 0o700


def test_files_that_cannot_be_removed_do_not_undo_finished_work(monkeypatch, tmp_path, caplog):
    def refuse(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    with (
        caplog.at_level(logging.WARNING),
        monkeypatch.context() as patched,
        prepare_engine("spark", SparkConfig(shared_directory=str(tmp_path))).workspace() as work,
    ):
        (work / "of-another-user").mkdir()
        patched.setattr(os, "rmdir", refuse)
    assert f"{work} could not be removed" in caplog.text


def test_a_shared_directory_that_cannot_be_written_is_an_error_of_the_configuration(tmp_path):
    (tmp_path / "file").write_text("no directory")
    with (
        pytest.raises(ConfigError, match=r"shared_directory .* cannot be used"),
        own_directory(SparkConfig(shared_directory=str(tmp_path / "file")), "test"),
    ):
        pass


def test_an_empty_java_home_is_none_and_a_wrong_one_has_no_java(monkeypatch, tmp_path):
    monkeypatch.setattr(available, "find_spec", lambda name: object())
    monkeypatch.setattr(spark_environment.shutil, "which", lambda name: None)
    for home in ("", str(tmp_path)):
        monkeypatch.setenv("JAVA_HOME", home)
        assert not available.engine_is_installed("spark", TrainingConfig())
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("")
    assert available.engine_is_installed("spark", TrainingConfig())
    monkeypatch.setenv("JAVA_HOME", "")
    monkeypatch.setattr(spark_environment.shutil, "which", lambda name: str(java))
    assert java_path() == str(java)


@pytest.mark.parametrize("error", [ConnectionResetError("MLflow is away"), EOFError("half a file")])
def test_lost_connections_are_those_of_spark_only_where_spark_was_called(error):
    serializers = pytest.importorskip("pyspark.serializers", reason="pip install 'train-cf[spark]'")
    with pytest.raises(type(error)) as passed, translated_spark_errors():
        raise error
    assert passed.value is error
    with pytest.raises(EngineUnavailable, match="lost its cluster"), translated_spark_errors():
        serializers.read_int(io.BytesIO())  # as when Java hangs up
