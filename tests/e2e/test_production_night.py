"""The product as it runs in a shop: Prefect server, a worker for each pool, S3, alerts, faults, the UI.

One server for the whole file. The GPU worker is simulated: it claims a GPU and trains ALS on its CPU.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from fault_proxy import FaultProxy, fault_proxy
from prefect_servers import LONG_ENOUGH_SECONDS, PrefectServer, Worker, deploy, ended, running_prefect, until
from webhook_receiver import Receiver, webhook_receiver

from recsys.cf.data.demo import write_demo_shop

NIGHTLY = "train-cf/nightly"
SIMULATED = {"RECSYS_TEST_SIMULATED_GPU": "1"}
QUICK = [
    *("als.preset=default", "als.iterations=8", "als.factors=16", "als.regularization=50"),
    *("bpr.preset=original", "bpr.epochs=20", "bpr.factors=16", "bpr.negative_sampling=uniform"),
]
# long enough to be interrupted: without early stop, a checkpoint every 5 steps
LONG = [
    *("als.preset=default", "als.iterations=1000", "als.factors=128", "als.patience=2000"),
    *("bpr.preset=original", "bpr.epochs=4000", "bpr.factors=128", "bpr.patience=5000"),
]
ENDLESS = [*LONG, "als.iterations=1000000", "bpr.epochs=1000000"]
OUTAGE_SECONDS = 20
ZOMBIE_SECONDS = 75  # instead of 90, with heartbeats every 30 s, which drift on a loaded machine
KILLED_AFTER_SECONDS = 25  # Prefect kills a cancelled process that is still there after 30 s


@dataclass
class Production:
    """Everything that runs."""

    prefect: PrefectServer
    s3: FaultProxy
    alerts: Receiver
    raw: str
    gpu: list[Worker]
    stack: ExitStack

    def start_gpu_worker(self) -> None:
        self.gpu.append(self.stack.enter_context(self.prefect.worker("gpu", **SIMULATED)))


@pytest.fixture(scope="module")
def production(seaweedfs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("production")
    write_demo_shop(folder / "raw", size="small", seed=3)
    with ExitStack() as stack:
        s3 = stack.enter_context(fault_proxy(seaweedfs.endpoint_url))
        alerts = stack.enter_context(webhook_receiver())
        environment = seaweedfs.environment | {
            "AWS_ENDPOINT_URL_S3": s3.endpoint_url,
            "RECSYS_STORE": seaweedfs.new_uri(),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",  # instead of a minute
        }
        prefect = stack.enter_context(running_prefect(folder, **environment))
        deploy(prefect, {"RECSYS_ALERT_WEBHOOK": alerts.url})
        stack.enter_context(prefect.worker("cpu"))
        running = Production(prefect, s3, alerts, str(folder / "raw"), [], stack)
        running.start_gpu_worker()
        for pool in ("cpu", "gpu"):
            until(
                lambda pool=pool: prefect.has_worker(pool) or None, LONG_ENOUGH_SECONDS, f"worker of {pool}"
            )
        yield running


@pytest.fixture(scope="module")
def prepared(production):
    run_id = production.prefect.start_run(
        "prepare-data/manual",
        interactions=f"{production.raw}/reviews.csv",
        items=f"{production.raw}/products.csv",
    )
    run = production.prefect.wait(run_id, LONG_ENOUGH_SECONDS)
    assert run["state_type"] == "COMPLETED", production.prefect.logs(run_id)
    return run


@pytest.fixture(scope="module")
def manual_night(production, prepared):
    """Run the command of the README and return the flow run it made."""
    import json

    done = production.prefect.command(
        *("-m", "prefect", "deployment", "run", NIGHTLY, "--watch"),
        *("-p", f"overrides={json.dumps(QUICK)}"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return production.prefect.runs_of(NIGHTLY)[-1]


def night(production: Production, **parameters: Any) -> str:
    return production.prefect.start_run(NIGHTLY, **parameters)


def test_als_goes_to_the_gpu_worker_and_bpr_stays(production, manual_night):
    prefect, run_id = production.prefect, manual_night["id"]
    tasks = prefect.tasks(run_id)
    assert set(tasks["fit als on gpu"]["tags"]) == {"als", "gpu"}
    assert tasks["fit bpr"]["tags"] == ["bpr"]
    child = prefect.runs_of("fit-model/gpu")[-1]
    assert child["work_pool_name"] == "gpu"
    assert child["state_type"] == "COMPLETED"
    assert len(str(child["parameters"])) < 10_000, "only references go through Prefect"
    lines = prefect.logs(run_id)
    assert any(line.startswith("[gpu] als trained in") for line in lines), (
        "the child's log lines are forwarded"
    )
    assert any("bpr trained in" in line for line in lines), "the library's log lines are in the UI"


def test_a_run_is_named_by_its_data_version(production, prepared, manual_night):
    data = production.prefect.artifacts(prepared["id"])["prepare-data-funnel"]
    version = data["description"].rsplit(" ", 1)[1]
    assert manual_night["name"] == f"train-cf {version}"
    assert {"train-cf", "nightly"} < set(manual_night["tags"])


def test_the_ui_gets_its_artifacts(production, manual_night):
    artifacts = production.prefect.artifacts(manual_night["id"])
    types = {key: one["type"] for key, one in artifacts.items()}
    wanted = {
        "train-cf-metrics": "table",
        "train-cf-report": "markdown",
        "train-cf-progress-bpr": "progress",
        "train-cf-als-validation": "image",
        "train-cf-bpr-training-loss": "image",
        "train-cf-als-model": "markdown",
    }
    assert types.items() >= wanted.items()
    assert artifacts["train-cf-progress-bpr"]["data"] == 100.0


def test_a_new_champion_is_told_to_the_webhook(production, manual_night):
    told = until(lambda: production.alerts.first("train-cf.champion.changed"), LONG_ENOUGH_SECONDS, "alert")
    assert told["previous"] is None
    assert told["champion"].startswith(("als_", "bpr_"))
    assert told["reasons"][0].startswith(told["champion"])


def test_a_rerun_uses_what_exists(production, manual_night):
    run = production.prefect.wait(night(production, overrides=QUICK), LONG_ENOUGH_SECONDS)
    assert run["state_type"] == "COMPLETED"
    (only,) = production.prefect.tasks(run["id"])
    assert only.startswith("open run")


def test_cancelling_stops_the_kernels_on_both_workers(production, prepared):
    prefect = production.prefect
    run_id = night(production, overrides=ENDLESS)
    until(
        lambda: "train-cf-progress-bpr" in prefect.artifacts(run_id) or None,
        LONG_ENOUGH_SECONDS,
        "progress of BPR",
    )
    children = until(lambda: at_work(prefect) or None, LONG_ENOUGH_SECONDS, "training on the GPU worker")
    child = children[-1]["id"]
    until(
        lambda: "train-cf-progress-als" in prefect.artifacts(child) or None,
        LONG_ENOUGH_SECONDS,
        "progress of ALS",
    )
    trainings = processes_of_runs()
    assert len(trainings) == 2
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    prefect.call("POST", f"/flow_runs/{run_id}/set_state", cancelling)
    began = time.monotonic()
    _, alive = psutil.wait_procs(trainings, timeout=60)
    assert not alive
    assert time.monotonic() - began < KILLED_AFTER_SECONDS, "they stopped by themselves"
    for one in (run_id, child):
        assert prefect.wait(one, LONG_ENOUGH_SECONDS)["state_type"] == "CANCELLED"


def at_work(prefect: PrefectServer) -> list[Any]:
    return [run for run in prefect.runs_of("fit-model/gpu") if run["state_type"] == "RUNNING"]


def processes_of_runs() -> list[psutil.Process]:
    """Return the processes that our workers have started: one for each flow run."""
    workers = [one for one in psutil.Process().children() if "worker" in one.cmdline()]
    return [child for worker in workers for child in worker.children(recursive=True)]


def test_when_nobody_takes_als_it_falls_back_or_fails_by_configuration(production, prepared):
    prefect = production.prefect
    hurry = [*QUICK, "runtime.pickup_seconds=1"]
    prefect.call("PATCH", "/work_pools/gpu", {"is_paused": True})  # its worker is online, but gets nothing
    try:
        started = {
            use_gpu: prefect.start_run(deployment, overrides=[*hurry, f"als.use_gpu={use_gpu}"], force=True)
            for use_gpu, deployment in (("auto", NIGHTLY), ("true", "train-cf/rerun"))
        }
        auto, demanded = (prefect.wait(started[use_gpu], LONG_ENOUGH_SECONDS) for use_gpu in ("auto", "true"))
    finally:
        prefect.call("PATCH", "/work_pools/gpu", {"is_paused": False})
    assert auto["state_type"] == "COMPLETED"
    assert any("trained on the CPU" in line for line in prefect.logs(auto["id"]))
    assert demanded["state_type"] == "FAILED"
    message = demanded["state"]["message"]
    assert "als: DeviceUnavailable: no worker of pool gpu took als in 1 s" in message
    assert "bpr_" in message, "the other branch is registered, and the message says as what"


@pytest.fixture(scope="module")
def faulty_night(production, manual_night):
    """A scheduled night that loses S3 for 20 s and its GPU worker for good; return the flow run."""
    prefect, s3 = production.prefect, production.s3
    prefect.notice_zombies_after(ZOMBIE_SECONDS)
    started = len(prefect.runs_of(NIGHTLY))
    prefect.schedule(NIGHTLY, overrides=LONG)
    run = until(
        lambda: (prefect.runs_of(NIGHTLY)[started:] or [None])[0], LONG_ENOUGH_SECONDS, "scheduled run"
    )
    before = len(s3.requests)
    until(
        lambda: saved_checkpoints(s3.requests[before:]) or None,
        LONG_ENOUGH_SECONDS,
        "checkpoints of both models",
    )
    s3.break_by(lambda line: "reset before body")
    production.gpu.pop().kill()
    until(
        lambda: next((c for c in prefect.runs_of("fit-model/gpu") if c["state_type"] == "RUNNING"), None),
        30,
        "zombie",
    )
    time.sleep(OUTAGE_SECONDS)
    assert ended(prefect.run(run["id"])) is None
    s3.heal()
    production.start_gpu_worker()
    return prefect.wait(run["id"], 2 * LONG_ENOUGH_SECONDS)


def saved_checkpoints(requests: list[str]) -> bool:
    return all(
        any(line.startswith("PUT") and f"/{model}/checkpoints/" in line for line in requests)
        for model in ("als", "bpr")
    )


@pytest.mark.slow
def test_a_night_survives_an_outage_and_a_killed_worker(production, faulty_night):
    prefect = production.prefect
    assert faulty_night["auto_scheduled"]
    assert faulty_night["state_type"] == "COMPLETED", faulty_night["state"]["message"]
    tasks = prefect.tasks(faulty_night["id"])
    assert tasks["fit als on gpu"]["run_count"] == 2, "the lost worker"
    assert tasks["fit bpr"]["run_count"] >= 2, "the outage"
    states = [run["state_name"] for run in prefect.runs_of("fit-model/gpu")][-2:]
    assert states == ["Crashed", "Completed"]
    resumed = [line for line in prefect.logs(faulty_night["id"]) if "goes on after" in line]
    assert len(resumed) >= 2, "both trainings resume from their checkpoints"
    both = [tasks[name] for name in ("fit als on gpu", "fit bpr")]
    assert max(one["start_time"] for one in both) < min(one["end_time"] for one in both), (
        "they overlap in time"
    )


@pytest.mark.slow
def test_a_crash_is_told_to_the_webhook(production, faulty_night):
    told = until(lambda: production.alerts.first("prefect.flow-run.Crashed"), LONG_ENOUGH_SECONDS, "alert")
    assert told["run"].startswith("fit als v_")
    assert "No sign of life" in told["message"]


@pytest.mark.slow
def test_the_ui_shows_tasks_retries_and_artifacts(production, faulty_night, chromium):
    prefect, run_id = production.prefect, faulty_night["id"]
    bpr = prefect.tasks(run_id)["fit bpr"]
    page = chromium(prefect.url)
    tasks = (faulty_night["name"], "Completed", "fit als on gpu", "fit bpr", "decide and promote")
    page.look(f"/runs/flow-run/{run_id}", "run", tab="Task Runs", expect=tasks)
    page.look(f"/runs/task-run/{bpr['id']}", "retries", expect=[f"Run Count {bpr['run_count']}"])
    keys = ("train-cf-metrics", "train-cf-report", "train-cf-als-validation", "train-cf-bpr-model")
    page.look(f"/runs/flow-run/{run_id}", "artifacts", tab="Artifacts", expect=keys)
    image = prefect.artifacts(run_id)["train-cf-als-validation"]["id"]
    page.look(f"/artifacts/artifact/{image}", "curve")
    assert page.image_width() > 300, "the curve is drawn, not a broken link"
    metrics = prefect.artifacts(run_id)["train-cf-metrics"]["id"]
    page.look(f"/artifacts/artifact/{metrics}", "metrics", expect=["recall@10"])
    assert page.foreign_requests == []


def test_neither_server_nor_workers_ask_the_network(production, manual_night):
    assert production.prefect.foreign_addresses() == ""
