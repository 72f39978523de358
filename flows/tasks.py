"""Tasks: one line each around recsys, with the retry rule; they pass references, never matrices."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from recsys.config.load import load_config
from recsys.errors import RecsysError
from recsys.pipeline.decide import decide_and_promote, finish_run
from recsys.pipeline.evaluate import evaluate_models
from recsys.pipeline.fit import FitReference, fit_model
from recsys.pipeline.publish import publish_model
from recsys.pipeline.run import RunReference, open_run
from recsys.types import Json

_RETRIES = load_config(None).runtime.retries
_FIRST_DELAY_SECONDS = 2
_JITTER = 0.5


def retry_makes_sense(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether trying again can help: errors say so themselves; unknown ones are not repeated."""
    try:
        state.result()
    except RecsysError as error:
        return error.retryable
    except TimeoutError:
        return False
    except (ConnectionError, OSError):
        return True
    except Exception:  # noqa: BLE001 - the outermost door: whatever else it was, do not repeat it
        return False
    return False


_LIMIT_SECONDS = 1800.0  # for stages without a limit of their own
_STAGE: dict[str, Any] = {
    "retries": _RETRIES,
    "retry_delay_seconds": exponential_backoff(_FIRST_DELAY_SECONDS),
    "retry_jitter_factor": _JITTER,
    "retry_condition_fn": retry_makes_sense,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="open run", timeout_seconds=_LIMIT_SECONDS, **_STAGE)
def open_run_task(
    store_uri: str,
    data_version: str,
    config_path: str | None,
    overrides: Sequence[str],
    force: bool,
    output: str | None,
) -> RunReference:
    """Pin the data version and the configuration of this run."""
    config = load_config(Path(config_path) if config_path else None, overrides)
    return open_run(store_uri, config, data_version=data_version, force=force, output=output)


# Prefect cannot interrupt a worker thread, so a training keeps runtime.timeout_minutes by itself.
@task(task_run_name="fit {model}", **_STAGE)
def fit_task(run: RunReference, model: str, cancelled: threading.Event) -> FitReference:
    """Train one model; a retry goes on from its last checkpoint."""
    return fit_model(run, model, cancelled=cancelled.is_set)


@task(name="evaluate", timeout_seconds=_LIMIT_SECONDS, **_STAGE)
def evaluate_task(run: RunReference, fits: Sequence[FitReference]) -> Json:
    """Measure models, champion and baselines on the same users."""
    return evaluate_models(run, fits)


@task(task_run_name="register {fit.model}", timeout_seconds=_LIMIT_SECONDS, **_STAGE)
def publish_task(run: RunReference, fit: FitReference, evaluation: Json) -> str:
    """Write the immutable version and register it as a candidate."""
    return publish_model(run, fit, evaluation)


@task(name="decide and promote", timeout_seconds=_LIMIT_SECONDS, **_STAGE)
def decide_task(run: RunReference, model_ids: Mapping[str, str], evaluation: Json) -> Json:
    """Ask the gates and move the champion alias if they agree."""
    return decide_and_promote(run, model_ids, evaluation)


@task(name="report", timeout_seconds=_LIMIT_SECONDS, **_STAGE)
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
