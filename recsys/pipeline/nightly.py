"""The whole night without Prefect: what `recsys run` does, and what the flow does stage by stage."""

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from recsys.cf.evaluation.baselines import require_popularity
from recsys.config.schema import TrainingConfig
from recsys.log import bind
from recsys.pipeline.data_drift import unchanged_since_champion
from recsys.pipeline.decide import decide_and_promote, finish_run, skip_run
from recsys.pipeline.evaluate import evaluate_models
from recsys.pipeline.fit import FitProgress, FitReference, fit_model
from recsys.pipeline.local_copies import reuse_result
from recsys.pipeline.publish import publish_model
from recsys.pipeline.run import RunReference, finished_result, load_dataset, open_run
from recsys.types import Json

_SECONDS_BETWEEN_SIGNALS = 0.2
logger = logging.getLogger(__name__)


def run_nightly(
    store_uri: str,
    config: TrainingConfig,
    *,
    data_version: str = "latest",
    force: bool = False,
    output: str | None = None,
    on_progress: FitProgress | None = None,
) -> Json:
    """Return the result of training, evaluating, registering and deciding on one data version.

    A run that ended well before is returned as it was ("reused": true) unless ``force``; so is the champion left
    alone when the data moved less than ``runtime.min_data_change``. Raises the errors
    of the stages; TrainingError when a branch failed, after the other was evaluated and registered.
    """
    run = open_run(store_uri, config, data_version=data_version, force=force, output=output)
    finished = finished_result(run)
    if finished is not None:
        return reuse_result(run, finished)
    if not force and (reason := unchanged_since_champion(run)):
        return skip_run(run, reason)
    bind(run_id=run.run_id, data_version=run.data_version, fingerprint=run.fingerprint[:8])
    with run.lease():  # before the data are read: from now on no collection takes them
        # a damaged version, or one without the baseline asked for, ends the night before anything is trained
        require_popularity(load_dataset(run), config.evaluation.popularity)
        fits, failures = _fit_side_by_side(run, on_progress)
        if not fits:
            return finish_run(run, fits, None, {}, None, failures)
        evaluation = evaluate_models(run, fits)
        model_ids = {fit.model: publish_model(run, fit, evaluation) for fit in fits}
        decision = decide_and_promote(run, model_ids, evaluation)
        return finish_run(run, fits, evaluation, model_ids, decision, failures)


def _fit_side_by_side(
    run: RunReference, on_progress: FitProgress | None
) -> tuple[list[FitReference], dict[str, str]]:
    """Return the fits that succeeded and the causes of those that did not. Ctrl-C stops both trainings."""
    models, cancelled = run.config.runtime.models, threading.Event()
    fits: list[FitReference] = []
    failures: dict[str, str] = {}
    with ThreadPoolExecutor(len(models), thread_name_prefix="fit") as pool:
        futures = {
            model: pool.submit(fit_model, run, model, on_progress=on_progress, cancelled=cancelled.is_set)
            for model in models
        }
        try:
            for model, future in futures.items():
                error = _outcome(future)
                if error is None:
                    fits.append(future.result())
                else:
                    logger.info(
                        "training of %s failed", model, exc_info=error
                    )  # the log file gets the traceback
                    failures[model] = f"{type(error).__name__}: {error}"
        except BaseException:
            cancelled.set()
            raise
    return fits, failures


def _outcome(future: "Future[FitReference]") -> BaseException | None:
    """Return what a training raised, or None; waits in short steps, because a lock may swallow Ctrl-C."""
    while True:
        try:
            return future.exception(timeout=_SECONDS_BETWEEN_SIGNALS)
        except TimeoutError:
            continue
