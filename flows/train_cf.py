"""The nightly flow: ALS, BPR and, if configured, the hybrid side by side, evaluated, registered, promoted.

`python -m flows.train_cf` runs it on the embedded default: no server, no S3, no GPU.
"""

import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from uuid import UUID

from flows.embedded import task_tags, use_embedded_server

if __name__ == "__main__" and "--help" not in sys.argv:  # Prefect reads its settings when it is imported
    use_embedded_server()

from prefect import flow
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.artifacts import show_result
from flows.identity import show_identity
from flows.pool_route import fit_on_pool_task, pool_of
from flows.reach import tell, wait_for_answer
from flows.tasks import (
    decide_task,
    evaluate_task,
    finish_task,
    fit_task,
    hold_run_task,
    of_run,
    open_run_task,
    publish_task,
    skip_unchanged_task,
)
from flows.waiting import cancellation, wait_for_all
from recsys.config.settings import default_store_uri
from recsys.pipeline.fit import FitReference
from recsys.pipeline.run import RunReference
from recsys.types import Json

_WORKERS = 4  # the trainings of a night, and room for what runs beside them


@flow(
    name="train-cf",
    flow_run_name="train-cf {data_version}",
    task_runner=ThreadPoolTaskRunner(max_workers=_WORKERS),
    persist_result=False,
    validate_parameters=True,
)
def train_cf(
    store: str | None = None,
    data_version: str = "latest",
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    output: str | None = None,
    resumes: UUID | None = None,
) -> Json:
    """Train, evaluate, register and decide; return the result document.

    Args:
        store: where everything durable lives, a path or s3://bucket/prefix; None: RECSYS_STORE or ./store.
        data_version: "latest", an id or the beginning of a content hash.
        config_path: the configuration file; None: the defaults.
        overrides: settings such as "bpr.epochs=30".
        force: train anew what an earlier run of the same data and configuration has trained.
        output: local directory for copies of the artifacts.
        resumes: a flow run that crashed; what it began by ``force`` is continued instead of begun anew. Without
            ``force`` the same data and configuration are always continued.
    """
    stamp = resumes.hex if resumes else UUID(flow_run.id).hex
    run, finished = open_run_task(
        store or default_store_uri(), data_version, config_path, overrides, force, output, stamp
    )
    tell(show_identity, run)
    result = finished or _unchanged(run, force) or _night(run)
    tell(show_result, result)
    return result


def _unchanged(run: RunReference, force: bool) -> Json | None:
    if force or run.config.runtime.min_data_change is None:
        return None
    return of_run(skip_unchanged_task, run)(run)


def _night(run: RunReference) -> Json:
    with ExitStack() as held:
        of_run(hold_run_task, run)(held, run)
        fits, failures = _fit_side_by_side(run)
        finish = of_run(finish_task, run)
        if not fits:
            return finish(run, fits, None, {}, None, failures)
        evaluation = of_run(evaluate_task, run)(run, fits)
        publish = of_run(publish_task, run)
        model_ids = {fit.model: publish(run, fit, evaluation) for fit in fits}
        decision = of_run(decide_task, run)(run, model_ids, evaluation)
        return finish(run, fits, evaluation, model_ids, decision, failures)


def _fit_side_by_side(run: RunReference) -> tuple[list[FitReference], dict[str, str]]:
    """Return the fits that ended well and the causes of those that did not; a cancelled flow stops all."""
    futures: dict[str, PrefectFuture[FitReference]] = {}
    with cancellation() as cancelled:
        for model in run.config.runtime.models:
            futures[model] = _submit_fit(run, model, cancelled)
        wait_for_all(futures.values())
    fits, failures = [], {}
    for model, future in futures.items():
        if future.state.is_completed():
            fits.append(future.result())
        else:
            error = future.result(raise_on_failure=False)
            failures[model] = f"{type(error).__name__}: {error}"
    return fits, failures


def _submit_fit(run: RunReference, model: str, cancelled: threading.Event) -> PrefectFuture[FitReference]:
    pool = pool_of(run, model)
    wait_for_answer()
    if pool is None:
        return of_run(fit_task, run, tags=task_tags(model)).submit(run, model, cancelled)
    return of_run(fit_on_pool_task, run, tags=task_tags(model, pool)).submit(run, model, cancelled, pool)


if __name__ == "__main__":
    from flows.command import main

    main(train_cf)
