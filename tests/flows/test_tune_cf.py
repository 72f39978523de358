"""The flow tune-cf: the same study on threads and on a Dask cluster of real processes, also when a worker dies."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from dask_cluster import running_dask

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.pipeline.study import load_study, trial_documents
from recsys.pipeline.tune_finish import study_summaries
from recsys.storage.local import LocalStore

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "tests" / "network_guard"
pytestmark = pytest.mark.slow
needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("prefect_dask") is None, reason="pip install 'train-cf[dask]'"
)
SPACE = {
    "model": "bpr",
    "stages": [
        {
            "name": "coarse",
            "fixed": {"bpr.epochs": 12, "bpr.patience": 12, "bpr.negative_sampling": "uniform"},
            "search": {"bpr.factors": [8, 16], "bpr.regularization": [0.003, 0.03]},
        },
        {"name": "fine", "refine": {"bpr.regularization": "midpoints"}},
    ],
}
CURRENT = ("bpr.preset=original", "bpr.epochs=5", "bpr.factors=8", "tuning.batch=3")
# what may differ between two runs of the same study
VOLATILE = ("seconds", "host")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with raw data, the space, and room for stores."""
    folder = tmp_path_factory.mktemp("tune-cf")
    write_demo_shop(folder / "raw", size="small", seed=8)
    (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
    return folder


def prepared(place, name):
    store = LocalStore(place / name)
    prepare(store, place / "raw" / "reviews.csv", None, DataConfig(), seed=1)
    return store


def environment(place):
    known = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    return known | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(GUARD)]),
        "RECSYS_TEST_NETWORK_LOG": str(place / "network.log"),
        "RECSYS_STATE": str(place / "state"),
        "RECSYS_LOG_DIR": "logs",
        "HOME": str(place),
        "OPENBLAS_NUM_THREADS": "1",
    }


def start(place, store, *settings):
    words = [word for one in (*CURRENT, *settings) for word in ("--set", one)]
    command = [sys.executable, "-m", "flows.tune_cf", "--space", "space.yaml", "--store", store.uri, "--json"]
    return subprocess.Popen(
        [*command, *words],
        cwd=place,
        env=environment(place),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process):
    out, err = process.communicate(timeout=800)
    assert process.returncode == 0, err
    return json.loads(out)["studies"][0]


def table(result):
    return [{key: value for key, value in one.items() if key not in VOLATILE} for one in result["trials"]]


@pytest.fixture(scope="module")
def on_threads(place):
    return result_of(start(place, prepared(place, "threads")))


def test_the_flow_on_threads_runs_the_whole_study(place, on_threads):
    assert on_threads["n_trials"] == 6
    assert on_threads["final"]["metrics"]["winner"]["ndcg@10"] > 0
    rows = (place / "experiments" / "cf_experiments.csv").read_text().splitlines()
    assert len(rows) == 1 + 6


@needs_dask
def test_two_dask_workers_give_the_same_table(place, on_threads):
    store = prepared(place, "dask")
    with running_dask(place / "cluster", environment(place)) as cluster:
        result = result_of(start(place, store, "tuning.runner=dask", f"tuning.cluster={cluster.address}"))
        assert all(worker.poll() is None for worker in cluster.workers)
    assert table(result) == table(on_threads)
    for key in ("winner", "current", "comparison", "proposed"):
        assert without_times(result[key]) == without_times(on_threads[key]), key
    assert result["final"] == on_threads["final"]
    used = {one["pid"] for one in trial_documents(load_study(store, result["study_id"]))}
    assert used == {worker.pid for worker in cluster.workers}, "both workers, and nobody else, ran trials"


def without_times(document):
    return {key: value for key, value in document.items() if key != "seconds"}


@needs_dask
def test_a_killed_workers_trials_are_run_by_the_other(place):
    store = prepared(place, "killed")
    slow = ("bpr.samples_per_epoch=200", "tuning.batch=4", "bpr.validate_every=1")
    with running_dask(place / "killed-cluster", environment(place)) as cluster:
        process = start(place, store, "tuning.runner=dask", f"tuning.cluster={cluster.address}", *slow)
        until_a_trial_ended(store, process)
        cluster.workers[0].send_signal(signal.SIGKILL)
        cluster.workers[0].wait()
        ended = trials_by_worker(store)
        # of the four in the batch two or more had not ended, so that the killed worker was at one of them
        assert sum(ended.values()) <= 2
        result = result_of(process)
    killed, other = (worker.pid for worker in cluster.workers)
    by_killed = ended.get(killed, 0)
    assert trials_by_worker(store) == Counter({killed: by_killed, other: 6 - by_killed})
    assert result["n_trials"] == 6
    assert all(one["state"] == "complete" for one in result["trials"])


def trials_by_worker(store):
    """Return how many trials each process has ended."""
    study = load_study(store, study_summaries(store)[0]["study_id"])
    return Counter(one["pid"] for one in trial_documents(study))


def until_a_trial_ended(store, process):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(one["n_trials"] for one in study_summaries(store)):
            return
        time.sleep(0.02)
    pytest.fail(f"no trial ended: {process.communicate()[1] if process.poll() is not None else 'too slow'}")
