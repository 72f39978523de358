"""One model as a flow of its own, which train-cf starts and waits for: the door to the pools gpu, spark, torchrec."""

from prefect import flow

from flows.embedded import task_tags
from flows.reach import wait_for_answer
from flows.tasks import fit_task, of_run
from flows.waiting import cancellation, wait_for_all
from recsys.log import bind
from recsys.pipeline.run import RunReference


@flow(name="fit-model", flow_run_name="fit {model} {run.data_version}", persist_result=False)
def fit_model(run: RunReference, model: str) -> str:
    """Train one model of the run and leave its factors in the store; return where.

    Args:
        run: the run that train-cf has opened; small, as JSON.
        model: "als", "bpr" or "hybrid".
    """
    bind(run_id=run.run_id, data_version=run.data_version, fingerprint=run.fingerprint[:8])
    wait_for_answer()
    with cancellation() as cancelled:
        future = of_run(fit_task, run, tags=task_tags(model)).submit(run, model, cancelled)
        wait_for_all([future])
    return future.result().prefix
