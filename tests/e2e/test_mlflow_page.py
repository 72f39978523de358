"""A study on a real MLflow server on loopback, looked at in a browser.

The server is no dependency: RECSYS_TEST_MLFLOW names the program `mlflow` of any environment that has it.
"""

import os
import shutil
import subprocess

import httpx
import pytest
from prefect_servers import until
from servers import free_ports
from test_tune import CURRENT, SPACE

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.cf.tuning.space import Space
from recsys.config.load import load_config
from recsys.config.schema import DataConfig
from recsys.pipeline.study import open_study
from recsys.pipeline.tune import run_study
from recsys.storage.local import LocalStore

START_SECONDS = 120
WAIT_MILLISECONDS = 90_000
TRIALS_BEST_FIRST = (
    "searchFilter=tags.stage%20LIKE%20%27%25%27&orderByKey=metrics.%60ndcg_at_10%60&orderByAsc=false"
)


@pytest.fixture
def server(tmp_path):
    """Return the address of a fresh MLflow server."""
    program = os.environ.get("RECSYS_TEST_MLFLOW") or shutil.which("mlflow")
    if (
        program is None
        or subprocess.run([program, "server", "--help"], capture_output=True, check=False).returncode
    ):
        pytest.skip(
            "no MLflow server: pip install mlflow elsewhere and set RECSYS_TEST_MLFLOW to its program"
        )
    port = free_ports()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    arguments += ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    arguments += ["--artifacts-destination", str(tmp_path / "artifacts")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
    with (tmp_path / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", *arguments], cwd=tmp_path, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            until(lambda: _answers(url) or None, START_SECONDS, f"MLflow server, see {tmp_path}/mlflow.log")
            yield url
        finally:
            os.killpg(process.pid, 9)
            process.wait()


def _answers(url):
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_the_runs_of_a_study_are_on_the_page(server, chromium, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="pip install 'train-cf[mlflow]'")
    monkeypatch.chdir(tmp_path)
    write_demo_shop(tmp_path / "raw", size="small", seed=6)
    store = LocalStore(tmp_path / "store")
    prepare(store, tmp_path / "raw" / "reviews.csv", None, DataConfig(), seed=1)
    config = load_config(None, (*CURRENT, f"tuning.mlflow_uri={server}"))
    study = open_study(store.uri, config, Space.model_validate({"name": "als-small", **SPACE}))
    result = run_study(study)
    assert result["mlflow"].startswith(server)
    page = chromium(server)
    tab = page.page
    tab.set_viewport_size({"width": 1700, "height": 620})
    tab.goto(result["mlflow"] + "/runs")
    tab.get_by_text("Model training", exact=True).first.click(timeout=WAIT_MILLISECONDS)
    tab.get_by_label("Close", exact=True).last.click(timeout=WAIT_MILLISECONDS)  # an assistant covers a third
    tab.goto(f"{result['mlflow']}/runs?{TRIALS_BEST_FIRST}")
    tab.get_by_text("Show more columns").first.click(timeout=WAIT_MILLISECONDS)
    for column in ("ndcg_at_10", "recall_at_10", "training_time", "als.factors", "als.regularization"):
        tab.get_by_text(column, exact=True).last.click(timeout=WAIT_MILLISECONDS)
    tab.keyboard.press("Escape")
    tab.wait_for_function("document.body.innerText.includes('6 matching runs')", timeout=WAIT_MILLISECONDS)
    tab.wait_for_timeout(3000)  # the table fills itself
    tab.screenshot(path=page.screenshots / "tuning_mlflow.png")
    shown = tab.inner_text("body")
    assert all(f"trial {one['number']} {one['stage']}" in shown for one in result["trials"])
    assert "6 matching runs" in shown
    # cut, not rounded: the page shows more digits
    assert str(result["winner"]["metrics"]["ndcg@10"])[:8] in shown, "the metric of the best trial"
