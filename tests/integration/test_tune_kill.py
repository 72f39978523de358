"""SIGKILL in the middle of a study, then the same command: no trial is lost, none is run twice, the same table."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from test_tune import CURRENT, SPACE

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.cf.tuning.space import Space
from recsys.config.load import load_config
from recsys.config.schema import DataConfig
from recsys.pipeline.study import finished_study, load_study, open_study, trial_documents
from recsys.pipeline.tune import run_study
from recsys.pipeline.tune_finish import study_summaries
from recsys.storage.local import LocalStore

ROOT = Path(__file__).resolve().parents[2]
LONG_SPACE = deepcopy(SPACE)  # trials of seconds: one that is seen to end is not the last but one by then
LONG_SPACE["stages"][0]["fixed"] = {"als.iterations": 600, "als.patience": 600}


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Return a store with one small data version; the space lies in space.yaml of the current folder."""
    monkeypatch.chdir(tmp_path)
    write_demo_shop(tmp_path / "raw", size="small", seed=6)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(LONG_SPACE))
    store = LocalStore(tmp_path / "store")
    prepare(store, tmp_path / "raw" / "reviews.csv", None, DataConfig(), seed=1)
    return store


def test_a_study_killed_with_sigkill_goes_on_without_losing_a_trial(shop, tmp_path):
    settings = [*CURRENT, "tuning.trials_at_once=1", "runtime.seed=7"]
    arguments = ["tune", "--space", "space.yaml", "--store", shop.uri, "--json"]
    command = [sys.executable, "-c", "from recsys.cli.main import run; run()", *arguments]
    command += [word for one in settings for word in ("--set", one)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    seen = until_some_trials_ended(shop, 7, 2, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    study = studies(shop, 7)[0]
    assert finished_study(study) is None
    before = {one.key: shop.get(one.key).data for one in shop.list(f"{study.prefix}/trials/")}
    assert 2 <= seen <= len(before) < 6
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["studies"][0]
    assert result["study_id"] == study.study_id
    assert result["n_trials"] == 6
    for key, data in before.items():
        assert shop.get(key).data == data, "a finished trial was run again"
    every = csv.DictReader((tmp_path / "experiments" / "cf_experiments.csv").open(newline=""))
    rows = [one for one in every if one["study_id"] == study.study_id]
    assert sorted(int(one["trial"]) for one in rows) == list(range(6))
    # the same study undisturbed, under another name of the same space
    whole = run_study(
        open_study(shop.uri, load_config(None, settings), Space.model_validate({"name": "w", **LONG_SPACE}))
    )
    assert [one["value"] for one in whole["trials"]] == [one["value"] for one in result["trials"]]
    assert whole["final"]["metrics"] == result["final"]["metrics"]


def studies(store, seed):
    found = [load_study(store, one["study_id"]) for one in study_summaries(store)]
    return [one for one in found if one.config.runtime.seed == seed]


def until_some_trials_ended(store, seed, wanted, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for study in studies(store, seed):
            ended = len(trial_documents(study))
            if ended >= wanted:
                return ended
        time.sleep(0.02)
    pytest.fail("no trial ended")
