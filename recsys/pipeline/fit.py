"""The training stage of one model: settings chosen, fit with checkpoints, factors left in the store."""

import io
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.evaluation.evaluate import validate as validate_factors
from recsys.cf.models.als import fit_als
from recsys.cf.models.als_confidence import scale_confidence
from recsys.cf.models.base import FitControl, FitResult, Validate, utc_now
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.memory import als_bytes, bpr_bytes, require_memory
from recsys.cf.models.threads import ThreadShares, use_compiled_threads
from recsys.cf.sampling.pools import build_pools
from recsys.cf.tuning.auto import Choice, choose_settings, search_space
from recsys.config.settings import available_threads
from recsys.errors import IntegrityError
from recsys.pipeline.lineage import last_settings
from recsys.pipeline.run import RunReference, load_dataset
from recsys.pipeline.warm import load_warm_start, newest_model
from recsys.rng import derive_name
from recsys.storage.documents import put_deterministic, read_document, write_once
from recsys.types import Factors, HistoryRow, Json

# Called with the model, whether this is a trial of the search, and the row.
FitProgress = Callable[[str, bool, HistoryRow], None]
_TRIAL_EPOCHS = 20  # ranks settings of BPR; ALS trials are whole fits
_VALIDATION_CUTOFF = 10  # of the metric that early stopping and the search watch
logger = logging.getLogger(__name__)


class FitReference(BaseModel):
    """Names a finished fit: where its factors and its document lie."""

    model_config = ConfigDict(frozen=True)

    model: str
    prefix: str  # holds U.npy, V.npy and fit.json
    factors_sha256: Mapping[str, str]  # of the raw bytes of U and V
    started_at: datetime
    ended_at: datetime


def fit_model(
    run: RunReference,
    model: str,
    *,
    on_progress: FitProgress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FitReference:
    """Train one model of the run and return where its factors lie; a finished fit is found, not repeated.

    An interrupted one goes on from its last checkpoint and ends with the same bytes.
    """
    finished = finished_fit(run, model)
    if finished is not None:
        logger.info("%s of %s is trained already", model, run.run_id)
        return finished
    store, prefix = run.open_store(), f"{run.prefix}/{model}"
    data = load_dataset(run)
    shares = _thread_shares(run.config.runtime.threads or available_threads())
    with shares.join():
        started_at = utc_now()
        fitter = _Fitter(run, model, data, cancelled, shares, on_progress)
        choice = fitter.choose()
        checkpoints = StoreCheckpoints(store, f"{prefix}/checkpoints", fitter.identity(choice))
        result = fitter.fit(choice.settings, trial=False, checkpoints=checkpoints)
        ended_at = utc_now()
    for name, matrix in (("U", result.factors.user_factors), ("V", result.factors.item_factors)):
        buffer = io.BytesIO()
        np.save(buffer, matrix, allow_pickle=False)
        put_deterministic(store, f"{prefix}/{name}.npy", buffer.getvalue())
    facts = {"started_at": started_at.isoformat(), "ended_at": ended_at.isoformat()}
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
    store = run.open_store()
    try:
        factors = Factors(
            *(
                np.load(io.BytesIO(store.get(f"{fit.prefix}/{side}.npy").data), allow_pickle=False)
                for side in "UV"
            )
        )
    except (ValueError, EOFError) as error:
        raise IntegrityError(f"{fit.prefix}: U or V cannot be read ({error}); delete it and rerun") from error
    if factors.sha256() != dict(fit.factors_sha256):
        raise IntegrityError(f"{fit.prefix}: U or V differ from what was trained; delete it and rerun")
    return factors


class _Fitter:
    """Runs trials and the final fit of one model on the same data with the same thread share."""

    def __init__(
        self,
        run: RunReference,
        model: str,
        data: InteractionDataset,
        cancelled: Callable[[], bool],
        shares: ThreadShares,
        on_progress: FitProgress | None,
    ) -> None:
        self.run, self.model, self.data = run, model, data
        self.config = run.section(model)
        self.cancelled, self.shares, self.on_progress = cancelled, shares, on_progress
        self.warm_from: str | None = None
        self.deadline = time.monotonic() + run.config.runtime.timeout_minutes * 60
        held_out = data.held_out("validation")
        self.validation_users = int(np.count_nonzero(held_out.counts()))
        self.validate: Validate | None = None
        if self.validation_users:
            seen = data.user_seen_train
            self.validate = lambda factors: validate_factors(factors, held_out, seen, _VALIDATION_CUTOFF)
        if model == "bpr":
            self.pools = build_pools(
                data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
            )
        _require_memory(run, data)

    def choose(self) -> Choice:
        """Return the settings of the night, from an earlier attempt of this run if there was one."""
        store, key = self.run.open_store(), f"{self.run.prefix}/{self.model}/settings.json"
        kept = read_document(store, key, required=("settings", "trials", "note", "warm_from"))
        if kept is None:
            use_compiled_threads(self.shares.share())
            choice = choose_settings(
                search_space(self.model),
                self.run.searched[self.model],
                last_settings(store, self.model),
                self.validation_users,
                lambda settings: self.fit(settings, trial=True),
            )
            kept = write_once(
                store,
                key,
                {
                    "settings": dict(choice.settings),
                    "trials": list(choice.trials),
                    "note": choice.note,
                    "warm_from": self._warm_from(),
                },
            )
        self.warm_from = kept["warm_from"]
        return Choice(kept["settings"], tuple(kept["trials"]), kept["note"])

    def _warm_from(self) -> str | None:
        warm = self.model == "bpr" and self.config.warm_start
        return newest_model(self.run, self.model) if warm else None

    def identity(self, choice: Choice) -> str:
        """Return a name of everything the final fit depends on."""
        config = self.config.model_copy(update=dict(choice.settings)).model_dump_json()
        shape = (self.data.content_hash, self.data.n_users, self.data.n_items)
        return derive_name(config, self.run.config.runtime.seed, self.warm_from, *shape)

    def fit(
        self, settings: Mapping[str, Any], *, trial: bool, checkpoints: StoreCheckpoints | None = None
    ) -> FitResult:
        """Return a fit with these settings on top of the configuration, shorter for a trial."""
        seed = self.run.config.runtime.seed
        watch = self.on_progress
        control = FitControl(
            on_progress=(lambda row: watch(self.model, trial, row)) if watch else None,
            cancelled=self.cancelled,
            threads=self.shares.share,
            deadline=self.deadline,
            checkpoints=checkpoints,
        )
        config = self.config.model_copy(update=dict(settings))
        if self.model == "als":
            user_items = scale_confidence(self.data.X_train_confidence, self.data.X_train_binary, config)
            return fit_als(user_items, config, seed=seed, validate=self.validate, control=control)
        if trial:
            config = config.model_copy(update={"epochs": min(config.epochs, _TRIAL_EPOCHS)})
        warm = None if trial or not self.warm_from else load_warm_start(self.run, self.warm_from, self.data)
        return fit_bpr(self.pools, config, seed=seed, warm=warm, validate=self.validate, control=control)


@cache
def _thread_shares(total: int) -> ThreadShares:
    """Return the one object through which the fits of this process share ``total`` threads."""
    return ThreadShares(total)


def _require_memory(run: RunReference, data: InteractionDataset) -> None:
    """Refuse to start when the trainings of the run, at once and with the largest searched model, cannot fit."""
    n_bytes = 0
    for model in run.config.runtime.models:
        config = run.section(model)
        ladder = search_space(model).ladders.get("factors", ())
        if "factors" in run.searched[model] and ladder:
            config = config.model_copy(update={"factors": max(ladder)})
        if model == "als":
            n_bytes += als_bytes(data.n_users, data.n_items, data.X_train_confidence.nnz, config)
        else:
            n_bytes += bpr_bytes(data.n_users, data.n_items, data.X_train_binary.nnz, config)
    require_memory(
        f"training {' and '.join(run.config.runtime.models)}",
        n_bytes,
        "set fewer als.factors and bpr.factors, fewer bpr.samples_per_epoch or data.max_users, or train one "
        "model at a time with runtime.models",
    )


def _facts(fitter: _Fitter, choice: Choice, result: FitResult) -> Json:
    config = fitter.config.model_copy(update=dict(choice.settings))
    return {
        "model": fitter.model,
        "factors_sha256": result.factors.sha256(),
        "settings": config.model_dump(mode="json"),
        "seed": fitter.run.config.runtime.seed,
        "trials": list(choice.trials),
        "search_note": choice.note,
        "history": [dict(row) for row in result.history],
        "iterations": len(result.history),
        "best_iteration": result.best_iteration,
        "stopped_early": result.stopped_early,
        "fit_seconds": result.seconds,
        "device": result.device,
        "resumed_from": result.resumed_from,
        "warm_from": fitter.warm_from,
        "peak_memory_bytes": max(int(row.get("peak_memory_bytes") or 0) for row in result.history),
    }


def _reference(model: str, prefix: str, document: Json) -> FitReference:
    return FitReference(
        model=model,
        prefix=prefix,
        factors_sha256=document["factors_sha256"],
        started_at=document["started_at"],
        ended_at=document["ended_at"],
    )
