"""The only worker is late, comes, and is killed with the night it runs: what the server notices, and what it does.

No S3 and no GPU here: one pool, one worker, a store on disk, so that nothing else can save the night.
"""

from contextlib import ExitStack

import pytest
from prefect_servers import LONG_ENOUGH_SECONDS, deploy, running_prefect, until
from webhook_receiver import webhook_receiver

from recsys.cf.data.demo import write_demo_shop
from recsys.cf.data.prepare import prepare
from recsys.config.schema import DataConfig
from recsys.storage.open import open_store

NIGHTLY, RERUN = "train-cf/nightly", "train-cf/rerun"
# long enough to be interrupted: without early stop, a checkpoint every 5 steps
LONG = [
    *("als.preset=default", "als.iterations=1500", "als.factors=128", "als.patience=2000"),
    *("bpr.preset=original", "bpr.epochs=5000", "bpr.factors=128", "bpr.patience=6000"),
]
HURRY = {  # instead of 15 s, 5 s and 10 s
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
}
ZOMBIE_SECONDS = 75  # instead of 90, with heartbeats every 30 s, which drift on a loaded machine


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Yield (server, alerts, exit stack) of a project that is deployed and has data, but no worker."""
    folder = tmp_path_factory.mktemp("lost")
    write_demo_shop(folder / "raw", size="small", seed=3)
    store = open_store(str(folder / "store"))
    prepare(store, folder / "raw" / "reviews.csv", None, DataConfig(), seed=42)
    with ExitStack() as stack:
        alerts = stack.enter_context(webhook_receiver())
        prefect = stack.enter_context(running_prefect(folder, RECSYS_STORE=store.uri, **HURRY))
        deploy(prefect, {"RECSYS_ALERT_WEBHOOK": alerts.url})
        yield prefect, alerts, stack, folder / "store"


@pytest.fixture(scope="module")
def late_night(shop):
    """Return the id of a forced night that waited for a worker until the server called it late."""
    prefect, alerts, _, _ = shop
    run_id = prefect.start_run(NIGHTLY, overrides=LONG, force=True)
    until(lambda: alerts.first("prefect.flow-run.Late"), LONG_ENOUGH_SECONDS, "late alert")
    return run_id


def test_a_night_that_nobody_takes_is_told_to_the_webhook(shop, late_night):
    prefect, alerts, _, _ = shop
    told = alerts.first("prefect.flow-run.Late")
    assert told["state"] == "Late"
    assert late_night in told["link"]
    assert prefect.run(late_night)["state_name"] == "Late"


@pytest.mark.slow
def test_a_killed_worker_is_noticed_and_the_rerun_goes_on_from_the_checkpoints(shop, late_night):
    prefect, alerts, stack, store = shop
    prefect.notice_zombies_after(ZOMBIE_SECONDS)
    worker = stack.enter_context(prefect.worker("cpu"))
    both = [f"runs/*/{model}/checkpoints/*" for model in ("als", "bpr")]
    until(
        lambda: all(any(store.glob(one)) for one in both) or None,
        LONG_ENOUGH_SECONDS,
        "checkpoints of both models",
    )
    worker.kill()
    assert prefect.run(late_night)["state_type"] == "RUNNING", "a dead process tells nobody"
    stack.enter_context(prefect.worker("cpu"))

    crashed = prefect.wait(late_night, 4 * ZOMBIE_SECONDS)
    assert crashed["state_type"] == "CRASHED"
    assert "No sign of life" in crashed["state"]["message"]
    assert (
        until(lambda: alerts.first("prefect.flow-run.Crashed"), LONG_ENOUGH_SECONDS, "alert")["run"]
        == crashed["name"]
    )
    rerun = until(lambda: (prefect.runs_of(RERUN) or [None])[0], LONG_ENOUGH_SECONDS, "rerun")
    ended = prefect.wait(rerun["id"], 2 * LONG_ENOUGH_SECONDS)
    assert ended["state_type"] == "COMPLETED"
    assert ended["parameters"] == {**crashed["parameters"], "resumes": late_night}
    assert run_of(ended) == run_of(crashed), "a forced night is continued, not begun anew"
    resumed = [line for line in prefect.logs(rerun["id"]) if "goes on after" in line]
    assert len(resumed) == 2, "both trainings resume from their checkpoints"


def run_of(flow_run):
    """Return the id of the run, which a flow run has as a tag."""
    (run_id,) = [tag for tag in flow_run["tags"] if tag.startswith("r_")]
    return run_id
