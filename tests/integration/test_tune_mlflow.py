"""A study in MLflow: a parent and a run per trial, each once, also after kills and while no server answers."""

import logging

import pytest
from test_tune import CURRENT, SPACE

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.cf.tuning.space import Space
from recsys.config.load import load_config
from recsys.config.schema import DataConfig
from recsys.errors import ConfigError
from recsys.pipeline.mlflow_runs import PARENT_TAG, STUDY_TAG, TRIAL_TAG, MlflowRuns
from recsys.pipeline.study import open_study, trial_documents
from recsys.pipeline.tune import run_study
from recsys.pipeline.tune_record import Recorder
from recsys.storage.local import LocalStore

mlflow = pytest.importorskip("mlflow", reason="pip install 'train-cf[mlflow]'")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    place = tmp_path_factory.mktemp("mlflow")
    write_demo_shop(place / "raw", size="small", seed=9)
    store = LocalStore(place / "store")
    prepare(store, place / "raw" / "reviews.csv", None, DataConfig(), seed=1)
    return store


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


def opened(shop, seed, *more):
    config = load_config(None, (*CURRENT, f"runtime.seed={seed}", *more))
    return open_study(shop.uri, config, Space.model_validate({"name": "m", **SPACE}))


def runs_of(uri, study):
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("train-cf").experiment_id
    found = client.search_runs([experiment], f"tags.`{STUDY_TAG}` = '{study.study_id}'")
    return client, {run.data.tags[TRIAL_TAG]: run for run in found}, len(found)


def test_every_trial_is_a_run_below_the_study(shop, uri, capsys):
    study = opened(shop, 1)
    result = run_study(study)
    assert capsys.readouterr().out == "", "standard output belongs to --json"
    client, runs, n_runs = runs_of(uri, study)
    assert n_runs == len(runs) == 1 + 6
    parent = runs.pop("parent")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["winner"] == str(result["winner"]["trial"])
    test_metric = result["final"]["metrics"]["winner"]["ndcg@10"]
    assert parent.data.metrics["test.winner.ndcg_at_10"] == pytest.approx(test_metric)
    files = {one.path for one in client.list_artifacts(parent.info.run_id)}
    assert files == {"proposal.yaml", "report.html", "trials.parquet"}
    for trial in trial_documents(study):
        run = runs[str(trial["number"])]
        assert run.data.tags[PARENT_TAG] == parent.info.run_id
        assert run.data.tags["data_version"] == study.data_version
        assert run.data.params == {path: str(value) for path, value in trial["settings"].items()}
        assert run.data.metrics["ndcg_at_10"] == pytest.approx(trial["value"])
        curve = client.get_metric_history(run.info.run_id, "curve.ndcg_at_10")
        told = {one.step: one.value for one in curve}
        assert told == pytest.approx({row["iteration"]: row["ndcg@10"] for row in trial["history"]})
        assert run.info.status == "FINISHED"
    assert result["mlflow"].endswith(f"experiments/{parent.info.experiment_id}")


def test_an_attempt_after_a_kill_writes_what_is_missing_once(shop, uri):
    study = opened(shop, 2, "tuning.mlflow_experiment=train-cf")
    run_study(study)
    client, runs, _ = runs_of(uri, study)
    client.delete_run(runs["3"].info.run_id)
    client.update_run(runs["4"].info.run_id, status="RUNNING")  # killed between creation and numbers
    Recorder(study).catch_up()
    _, again, n_runs = runs_of(uri, study)
    assert n_runs == len(again) == 7
    kept = {name for name in runs if again[name].info.run_id == runs[name].info.run_id}
    assert kept == set(runs) - {"3", "4"}
    assert again["4"].info.status == "FINISHED"


def test_a_silent_server_costs_a_warning_and_is_caught_up_with(shop, uri, monkeypatch, caplog):
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1" if name.endswith("TIMEOUT") else "0")
    study = opened(shop, 3, "tuning.mlflow_uri=http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING, "recsys"):
        result = run_study(study)
    assert result["n_trials"] == 6
    assert result["mlflow"] is None
    assert "not in MLflow" in caplog.text
    runs = MlflowRuns(study, uri)
    for trial in trial_documents(study):
        runs.log_trial(trial)
    assert runs_of(uri, study)[2] == 7


def test_a_named_server_without_the_extra_is_an_error(shop, uri, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"train-cf\[mlflow\]"):
        Recorder(opened(shop, 4))
