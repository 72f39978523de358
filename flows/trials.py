"""The tasks of tuning and the task runner that carries them; only references pass through Prefect."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.exceptions import CrashedRun
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.embedded import task_tags
from flows.reach import wait_for_answer
from flows.tasks import STAGE, retry_rule
from recsys.cf.tuning.sampling import PlannedTrial
from recsys.cf.tuning.spaces import load_space
from recsys.config.load import load_config
from recsys.errors import ConfigError, RecsysError, WorkerLost
from recsys.pipeline.study import StudyReference, open_study, trial_document
from recsys.pipeline.tune import trials_at_once
from recsys.pipeline.tune_finish import finish_study
from recsys.pipeline.tune_measure import final_look, measure
from recsys.pipeline.tune_trial import run_trial
from recsys.types import Json

_SIGNALS_SEEN_SECONDS = 0.5  # see flows.waiting
# Packages whose errors mean that a worker vanished, not that a trial failed.
_CLUSTERS = ("distributed", "ray")


@task(name="open studies", **STAGE)
def open_studies_task(
    store: str,
    spaces: Sequence[str] | None,
    data_version: str,
    config_path: str | None,
    overrides: Sequence[str],
    force: bool,
) -> list[StudyReference]:
    """Pin data version and configuration of each study."""
    config = load_config(Path(config_path) if config_path else None, overrides)
    loaded = [load_space(name) for name in spaces or config.tuning.spaces]
    return [
        open_study(store, config, space, data_version=data_version, force=force, config_path=config_path)
        for space in loaded
    ]


@task(task_run_name="trial {planned.number} {planned.stage}", **STAGE)
def trial_task(study: StudyReference, planned: PlannedTrial, cancelled: threading.Event | None) -> int:
    """Run one trial, whose document goes to the store; return its number."""
    run_trial(study, planned, cancelled.is_set if cancelled else lambda: False)
    return planned.number


@task(task_run_name="measure {which}", **STAGE)
def measure_task(study: StudyReference, which: str) -> None:
    """Measure the winner or the current settings on validation, user by user."""
    measure(study, which)


@task(name="retrain, test, propose, report", **STAGE)
def end_task(study: StudyReference) -> Json:
    """Look at test once, then write proposal, report and result."""
    final_look(study)
    return finish_study(study)


def runner_of(study: StudyReference) -> TaskRunner[Any]:
    """Return the task runner that the study's configuration asks for. Raises ConfigError without its extra."""
    tuning = study.config.tuning
    if tuning.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=trials_at_once(study))
    try:
        if tuning.runner == "dask":
            from prefect_dask import DaskTaskRunner

            return DaskTaskRunner(**_dask_options(study))
        from prefect_ray import RayTaskRunner

        return RayTaskRunner(address=tuning.cluster)
    except ImportError as error:
        raise ConfigError(
            f"tuning.runner {tuning.runner} needs: pip install 'train-cf[{tuning.runner}]'"
        ) from error


def run_trials(
    study: StudyReference,
    batch: Sequence[PlannedTrial],
    cancelled: threading.Event,
    tell: Callable[[Json], None],
) -> None:
    """Run a batch, telling each trial as it ends; trials whose worker vanished are sent again.

    So are those that met no Prefect server when they were to start, see ``wait_for_answer``.

    Raises what a trial raised, once the others have ended; WorkerLost when workers keep vanishing.
    """
    config, waiting = study.config, list(batch)
    # an event belongs to one process; on a cluster Prefect and the cluster cancel the tasks themselves
    event = cancelled if config.tuning.runner == "threads" else None
    of_study = trial_task.with_options(tags=task_tags("trial"), **retry_rule(config.runtime))
    for _ in range(config.runtime.retries + 1):
        wait_for_answer()
        futures = {of_study.submit(study, planned, event): planned for planned in waiting}
        failures, waiting = [], []
        for future in _as_they_end(list(futures)):
            error = _outcome(future)
            if error is None:
                tell(trial_document(study, futures[future].number))
            elif _is_lost(error):
                get_run_logger().warning("trial %d is sent again: %r", futures[future].number, error)
                waiting.append(futures[future])
            else:
                failures.append(error)
        if failures:
            raise failures[0]
        if not waiting:
            return
    raise WorkerLost(f"the workers of {len(waiting)} trials vanished {config.runtime.retries + 1} times")


def _dask_options(study: StudyReference) -> dict[str, Any]:
    tuning = study.config.tuning
    if tuning.cluster is not None:
        return {"address": tuning.cluster}
    workers = {"n_workers": trials_at_once(study), "threads_per_worker": 1, "processes": True}
    return {"cluster_kwargs": {**workers, "host": "127.0.0.1", "dashboard_address": None}}


def _as_they_end(futures: Sequence[PrefectFuture[int]]) -> Iterator[PrefectFuture[int]]:
    ended: queue.SimpleQueue[PrefectFuture[int]] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(lambda _, one=future: ended.put(one))
    for _ in futures:
        while True:
            try:
                yield ended.get(timeout=_SIGNALS_SEEN_SECONDS)
                break
            except queue.Empty:
                continue


def _outcome(future: PrefectFuture[int]) -> Exception | None:
    try:
        future.result()
    except Exception as error:  # noqa: BLE001 - sorted out by the caller
        return error
    return None


def _is_lost(error: Exception) -> bool:
    """Return whether the trial's worker vanished, or the server when the trial was to start."""
    if isinstance(error, RecsysError):
        return False
    if isinstance(error, CrashedRun | ConcurrencySlotAcquisitionError):
        return True
    return type(error).__module__.split(".")[0] in _CLUSTERS
