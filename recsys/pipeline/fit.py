"""The training stage of one model: settings chosen, fit with checkpoints, factors left in the store."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.models.base import FitResult, utc_now
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.threads import ThreadShares, use_compiled_threads
from recsys.cf.tuning.auto import Choice
from recsys.config.settings import available_threads
from recsys.pipeline.content import content_facts
from recsys.pipeline.fit_files import get_factors, put_factors
from recsys.pipeline.fitter import FitProgress as FitProgress
from recsys.pipeline.fitter import Fitter
from recsys.pipeline.run import RunReference, load_dataset
from recsys.pipeline.spark_fit import stage_session
from recsys.storage.documents import read_document, write_once
from recsys.types import Factors, Json

RANDOM_START = "random_start"  # below a model's prefix: the fit that used no embeddings
logger = logging.getLogger(__name__)


class FitReference(BaseModel):
    """Names a finished fit: where its factors and its document lie."""

    model_config = ConfigDict(frozen=True)

    model: str
    prefix: str  # holds fit.json and, see ``put_factors``, U.npy and V.npy
    factors_sha256: Mapping[str, str]  # of the raw bytes of U and V
    started_at: datetime
    ended_at: datetime
    random_start_sha256: Mapping[str, str] | None = None  # likewise, of the fit that used no embeddings


def fit_model(
    run: RunReference,
    model: str,
    *,
    on_progress: FitProgress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FitReference:
    """Train one model of the run and return where its factors lie; a finished fit is found, not repeated.

    An interrupted one goes on from its last checkpoint and ends with the same bytes. Where two attempts train at once
    (a worker that was given up may still be alive), the fit that is finished first is the fit of the run, for both.
    """
    finished = finished_fit(run, model)
    if finished is not None:
        logger.info("%s of %s is trained already", model, run.run_id)
        return finished
    store, prefix = run.open_store(), f"{run.prefix}/{model}"
    data = load_dataset(run)
    shares = _thread_shares(run.config.runtime.threads or available_threads())
    with shares.join(), stage_session(run, model):
        started_at = utc_now()
        fitter = Fitter(run, model, data, cancelled, shares, on_progress)
        choice = fitter.choose()
        checkpoints = StoreCheckpoints(store, f"{prefix}/checkpoints", fitter.identity(choice))
        result = fitter.fit(choice.settings, trial=False, checkpoints=checkpoints)
        ended_at = utc_now()
        random_start = fitter.fit_random_start(choice.settings)
    facts: Json = {"started_at": started_at.isoformat(), "ended_at": ended_at.isoformat()}
    facts["factors_sha256"] = put_factors(store, prefix, result.factors)
    if random_start is not None:
        facts["random_start_sha256"] = put_factors(store, f"{prefix}/{RANDOM_START}", random_start)
    document = write_once(store, f"{prefix}/fit.json", {**_facts(fitter, choice, result), **facts})
    logger.info("%s trained in %.1f s", model, (ended_at - started_at).total_seconds())
    return _reference(model, prefix, document)


def finished_fit(run: RunReference, model: str) -> FitReference | None:
    """Return the fit of this run and model if it ended well before, on whichever worker, else None."""
    prefix = f"{run.prefix}/{model}"
    required = ("factors_sha256", "started_at", "ended_at", "history", "settings")
    document = read_document(run.open_store(), f"{prefix}/fit.json", required=required)
    return None if document is None else _reference(model, prefix, document)


def load_factors(run: RunReference, fit: FitReference) -> Factors:
    """Return the factors of a finished fit. Raises IntegrityError when they are not those written."""
    return get_factors(run.open_store(), fit.prefix, fit.factors_sha256)


def load_random_start(run: RunReference, fit: FitReference) -> Factors | None:
    """Return what the same settings gave from a random start, None where that was not trained."""
    if fit.random_start_sha256 is None:
        return None
    return get_factors(run.open_store(), f"{fit.prefix}/{RANDOM_START}", fit.random_start_sha256)


def fit_settings(
    run: RunReference,
    model: str,
    data: InteractionDataset,
    shares: ThreadShares,
    *,
    on_progress: FitProgress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Return one fit of the run's own settings on ``data``: no search, no checkpoint, nothing written."""
    use_compiled_threads(shares.share())
    return Fitter(run, model, data, cancelled, shares, on_progress).fit({}, trial=False)


def chosen_settings(
    run: RunReference, model: str, data: InteractionDataset, shares: ThreadShares
) -> Mapping[str, Any]:
    """Return what a night of this run would choose for the fields left to the search; kept below its prefix."""
    return Fitter(run, model, data, lambda: False, shares, None).choose().settings


@cache
def _thread_shares(total: int) -> ThreadShares:
    """Return the one object through which the fits of this process share ``total`` threads."""
    return ThreadShares(total)


def _facts(fitter: Fitter, choice: Choice, result: FitResult) -> Json:
    config = fitter.config.model_copy(update=dict(choice.settings))
    return {
        "model": fitter.model,
        "settings": config.model_dump(mode="json"),
        "seed": fitter.run.config.runtime.seed,
        "trials": list(choice.trials),
        "search_note": choice.note,
        "history": [dict(row) for row in result.history],
        "iterations": result.n_steps,
        "best_iteration": result.best_iteration,
        "stopped_early": result.stopped_early,
        "fit_seconds": result.seconds,
        "device": result.device,
        "resumed_from": result.resumed_from,
        "warm_from": fitter.warm_from,
        "content": content_facts(fitter.content),
        "bert_initialization": fitter.starts.facts(config.factors),
        "peak_memory_bytes": max(int(row.get("peak_memory_bytes") or 0) for row in result.history),
    }


def _reference(model: str, prefix: str, document: Json) -> FitReference:
    return FitReference(
        model=model,
        prefix=prefix,
        factors_sha256=document["factors_sha256"],
        started_at=document["started_at"],
        ended_at=document["ended_at"],
        random_start_sha256=document.get("random_start_sha256"),
    )
