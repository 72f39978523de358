"""The flow on the embedded default: a real temporary Prefect server, real processes, the same night as without it."""

import json
import os
import sqlite3
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from recsys.cf.data.demo import write_demo_shop

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "tests" / "network_guard"
FIXED = [
    # long enough that two trainings which run at once must overlap, though a busy server on SQLite answers 503 and
    # Prefect's client comes again after 2, 4 and 8 s
    *("--set", "als.preset=default", "--set", "als.iterations=500", "--set", "als.patience=500"),
    *("--set", "bpr.preset=original", "--set", "bpr.epochs=2000", "--set", "bpr.patience=2000"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a directory with two stores of the same data version: flow/ and plain/."""
    directory = tmp_path_factory.mktemp("night")
    write_demo_shop(directory / "raw", size="small", seed=3)
    for store in ("flow", "plain", "broken"):
        done = call(directory, "recsys", "prepare", "raw/reviews.csv", "--store", store, "--json")
        assert done.returncode == 0, done.stderr
    return directory


def call(directory, module, *arguments):
    """Run a command in ``directory`` with an empty state folder and without a Prefect server."""
    start = "-m" if module.startswith("flows") else "-c"
    program = module if start == "-m" else "from recsys.cli.main import run; run()"
    # few variables: Prefect would be silent on a machine for continuous integration by itself
    environment = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(GUARD)]),
        "RECSYS_TEST_NETWORK_LOG": str(directory / "network.log"),
        "RECSYS_STATE": "state",
        "RECSYS_LOG_DIR": "logs",
        "HOME": str(directory),
    }
    return subprocess.run(
        [sys.executable, start, program, *arguments],
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def flow_result(place):
    done = call(place, "flows.train_cf", "--store", "flow", "--output", "flow-out", "--json", *FIXED)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def query(place, sql):
    with sqlite3.connect(place / "state" / "prefect" / "prefect.db") as database:
        return database.execute(sql).fetchall()


def test_both_models_are_trained_at_the_same_time(flow_result):
    intervals = {
        model: [datetime.fromisoformat(moment) for moment in facts["intervals"]]
        for model, facts in flow_result["models"].items()
    }
    assert set(intervals) == {"als", "bpr"}
    overlap = min(end for _, end in intervals.values()) - max(start for start, _ in intervals.values())
    assert overlap.total_seconds() > 0, intervals
    assert flow_result["overlap_seconds"] == pytest.approx(overlap.total_seconds(), abs=0.01)


def test_the_plain_run_gives_the_same_models_and_decision(place, flow_result):
    done = call(place, "recsys", "run", "--store", "plain", "--output", "plain-out", "--json", *FIXED)
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert plain["run_id"] == flow_result["run_id"]
    for model, facts in plain["models"].items():
        for key in ("factors_sha256", "metrics", "baseline", "improvement_ci", "score_range", "settings"):
            assert facts[key] == flow_result["models"][model][key], (model, key)
    assert plain["decision"]["promote"] == flow_result["decision"]["promote"]
    for model in ("als", "bpr"):
        files = [sorted(p.name for p in (place / out / model).iterdir()) for out in ("flow-out", "plain-out")]
        assert files[0] == files[1]


def test_no_task_waits_for_the_embedded_servers_database(place, flow_result):
    """Prefect takes slots for tagged tasks; on SQLite two that start at once collide, and one pauses for seconds."""
    assert {tags for (tags,) in query(place, "select tags from task_run")} == {"[]"}
    told = (place / "state" / "prefect" / "server.log").read_text()
    assert "database is locked" not in told
    assert "concurrency_limit" not in told


def test_the_users_own_prefect_is_left_alone(place, flow_result):
    assert (place / "state" / "prefect" / "prefect.db").exists()
    assert not (place / ".prefect").exists(), "HOME/.prefect belongs to the user"


def test_tasks_and_artifacts_are_in_prefect(place, flow_result):
    tasks = dict(query(place, "select name, state_type from task_run"))
    for name in ("fit als", "fit bpr", "register als", "register bpr"):
        assert any(task.startswith(name) for task in tasks), tasks
    assert set(tasks.values()) == {"COMPLETED"}
    artifacts = dict(query(place, "select key, type from artifact where key is not null"))
    assert artifacts["train-cf-metrics"] == "table"
    assert artifacts["train-cf-report"] == "markdown"
    assert artifacts["train-cf-als-training-loss"] == artifacts["train-cf-bpr-validation"] == "image"
    assert artifacts["train-cf-progress-als"] == "progress"


def test_the_run_is_named_by_its_data_version_and_its_log_lines_are_in_the_ui(place, flow_result):
    (name,) = query(place, "select name from flow_run")[0]
    assert name == f"train-cf {flow_result['data_version']}"
    lines = [message for (message,) in query(place, "select message from log")]
    for model in ("als", "bpr"):
        assert any(line.startswith(f"{model} trained in") for line in lines)


def test_no_process_of_a_fresh_home_asks_the_network(place, flow_result):
    assert not (place / "network.log").exists(), (place / "network.log").read_text()


def test_the_guard_of_the_network_sees_and_stops(tmp_path):
    program = "import urllib.request as r; r.urlopen('http://telemetry.invalid/', timeout=3)"
    environment = {"PYTHONPATH": str(GUARD), "RECSYS_TEST_NETWORK_LOG": str(tmp_path / "log")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert done.returncode
    assert (tmp_path / "log").read_text().startswith("telemetry.invalid by")


def test_nothing_large_passes_through_prefect(place, flow_result):
    size = query(place, "select max(length(data)) from artifact")[0]
    assert size[0] is None or size[0] < 100_000
    storage = place / "state" / "prefect" / "storage"
    stored = (
        [path.stat().st_size for path in storage.rglob("*") if path.is_file()] if storage.exists() else []
    )
    assert sum(stored) < 100_000


def test_a_rerun_does_nothing_new(place, flow_result):
    done = call(place, "flows.train_cf", "--store", "flow", "--output", "flow-out", "--json", *FIXED)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["reused"]
    assert again["models"]["als"]["model_id"] == flow_result["models"]["als"]["model_id"]


def test_force_trains_anew(place, flow_result):
    done = call(place, "flows.train_cf", "--store", "flow", "--force", "--json", *FIXED)
    assert done.returncode == 0, done.stderr
    forced = json.loads(done.stdout)
    assert not forced["reused"]
    for model, facts in flow_result["models"].items():
        assert forced["models"][model]["model_id"] != facts["model_id"]
        assert forced["models"][model]["factors_sha256"] == facts["factors_sha256"]


def test_one_failed_branch_leaves_the_other_registered_and_the_run_failed(place):
    diverging = ("--set", "bpr.learning_rate=10", "--set", "bpr.regularization=5.0")
    done = call(place, "flows.train_cf", "--store", "broken", "--output", "broken-out", *FIXED, *diverging)
    assert done.returncode == 5
    assert "bpr" in done.stderr
    assert "diverged" in done.stderr
    assert "als_" in done.stderr, "the message must name what was registered all the same"
    listed = json.loads(call(place, "recsys", "registry", "list", "--store", "broken", "--json").stdout)
    assert [model["model_type"] for model in listed["models"]] == ["als"]


def test_data_that_hardly_moved_train_nothing_where_a_change_is_demanded(place, flow_result):
    # another configuration, or the finished night would be found and nothing asked
    gate = ("--set", "runtime.min_data_change=0.1", "--set", "evaluation.bootstrap_resamples=1500")
    done = call(place, "flows.train_cf", "--store", "flow", "--json", *FIXED, *gate)
    assert done.returncode == 0, done.stderr
    skipped = json.loads(done.stdout)
    assert skipped["models"] == {}
    assert not skipped["decision"]["promote"]
    assert skipped["decision"]["champion"] == flow_result["decision"]["champion"]
    assert "runtime.min_data_change" in " ".join(skipped["decision"]["reasons"])
    forced = call(place, "flows.train_cf", "--store", "flow", "--force", "--json", *FIXED, *gate)
    assert set(json.loads(forced.stdout)["models"]) == {"als", "bpr"}, "--force asks no gate"
