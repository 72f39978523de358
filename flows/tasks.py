"""Tasks: one line each around recsys, with the retry rule; they pass references, never matrices."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from flows.events import emit_champion_changed
from flows.progress import TrainingProgress
from recsys.cf.evaluation.baselines import require_popularity
from recsys.config.load import load_config
from recsys.config.schema import RuntimeConfig
from recsys.errors import RecsysError
from recsys.pipeline.data_drift import unchanged_since_champion
from recsys.pipeline.decide import decide_and_promote, finish_run, skip_run
from recsys.pipeline.evaluate import evaluate_models
from recsys.pipeline.fit import FitReference, fit_model
from recsys.pipeline.local_copies import reuse_result
from recsys.pipeline.publish import publish_model
from recsys.pipeline.run import RunReference, finished_result, load_dataset, open_run
from recsys.types import Json

AnyTask = TypeVar("AnyTask", bound=Task[Any, Any])
_LIMIT_SECONDS = 1800.0  # for stages without a limit of their own
_JITTER = 0.5


def retry_makes_sense(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether trying again can help: errors say so themselves; unknown ones are not repeated."""
    try:
        state.result()
    except RecsysError as error:
        return error.retryable
    except TimeoutError:
        return False
    except (httpx.TransportError, OSError):  # the first: the Prefect server cannot be reached
        return True
    except Exception:  # noqa: BLE001 - the outermost door: whatever else it was, do not repeat it
        return False
    return False


def retry_rule(runtime: RuntimeConfig) -> dict[str, Any]:
    """Return the options of a task that say how often and after which pauses it is tried again."""
    return {
        "retries": runtime.retries,
        "retry_delay_seconds": exponential_backoff(runtime.retry_delay_seconds),
        "retry_jitter_factor": _JITTER,
        "retry_condition_fn": retry_makes_sense,
    }


# No cache: Prefect would hash the inputs. No stored results: what is durable lies in the store already.
STAGE: dict[str, Any] = {
    **retry_rule(RuntimeConfig()),
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


def of_run(stage: AnyTask, run: RunReference, **options: Any) -> AnyTask:
    """Return the task with the retry rule of the run's configuration."""
    return stage.with_options(**retry_rule(run.config.runtime), **options)


@task(name="open run", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def open_run_task(
    store_uri: str,
    data_version: str,
    config_path: str | None,
    overrides: Sequence[str],
    force: bool,
    output: str | None,
    stamp: str,
) -> tuple[RunReference, Json | None]:
    """Pin data version and configuration; return the run, and its result if it ended well before."""
    config = load_config(Path(config_path) if config_path else None, overrides)
    run = open_run(store_uri, config, data_version=data_version, force=force, stamp=stamp, output=output)
    finished = finished_result(run)
    return run, reuse_result(run, finished) if finished else None


@task(name="compare data", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def skip_unchanged_task(run: RunReference) -> Json | None:
    """Return the result of a night on data that moved too little since the champion's, else None."""
    reason = unchanged_since_champion(run)
    return skip_run(run, reason) if reason else None


@task(name="hold run", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def hold_run_task(held: ExitStack, run: RunReference) -> None:
    """Take the lease that keeps garbage collection away from the run and its data, then read and verify these.

    Damaged data, or data without the baseline asked for, end the night here, before anything is trained; ``held``
    gives the lease back.
    """
    held.enter_context(run.lease())
    require_popularity(load_dataset(run), run.config.evaluation.popularity)


# Prefect cannot interrupt a worker thread, so a training keeps runtime.timeout_minutes by itself.
@task(task_run_name="fit {model}", **STAGE)
def fit_task(run: RunReference, model: str, cancelled: threading.Event) -> FitReference:
    """Train one model; a retry goes on from its last checkpoint."""
    with TrainingProgress(run, model) as progress:
        return fit_model(run, model, on_progress=progress, cancelled=cancelled.is_set)


@task(name="evaluate", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def evaluate_task(run: RunReference, fits: Sequence[FitReference]) -> Json:
    """Measure models, champion and baselines on the same users."""
    return evaluate_models(run, fits)


@task(task_run_name="register {fit.model}", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def publish_task(run: RunReference, fit: FitReference, evaluation: Json) -> str:
    """Write the immutable version and register it as a candidate."""
    return publish_model(run, fit, evaluation)


@task(name="decide and promote", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def decide_task(run: RunReference, model_ids: Mapping[str, str], evaluation: Json) -> Json:
    """Ask the gates, move the champion alias if they agree, and tell the world when it moved."""
    decision = decide_and_promote(run, model_ids, evaluation)
    if decision["promote"]:
        before = evaluation["champion_before"]
        emit_champion_changed(
            run.store_uri, decision["champion"], before and before["model_id"], decision["reasons"]
        )
    return decision


@task(name="report", timeout_seconds=_LIMIT_SECONDS, **STAGE)
def finish_task(
    run: RunReference,
    fits: Sequence[FitReference],
    evaluation: Json | None,
    model_ids: Mapping[str, str],
    decision: Json | None,
    failures: Mapping[str, str],
) -> Json:
    """Write report and result; fails when a branch failed, naming every cause."""
    return finish_run(run, fits, evaluation, model_ids, decision, failures)
