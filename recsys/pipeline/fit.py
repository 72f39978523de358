"""The training stage of one model: settings chosen, fit with checkpoints, factors left in the store."""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.embeddings.align import AlignedEmbeddings
from recsys.cf.embeddings.load import aligned_embeddings
from recsys.cf.evaluation.evaluate import validate as validate_factors
from recsys.cf.models.als_train import train_als
from recsys.cf.models.base import FitControl, FitResult, Validate, utc_now
from recsys.cf.models.bpr import fit_bpr
from recsys.cf.models.checkpoint import StoreCheckpoints
from recsys.cf.models.hybrid import fit_hybrid
from recsys.cf.models.threads import ThreadShares, use_compiled_threads
from recsys.cf.sampling.pools import build_pools
from recsys.cf.tuning.auto import Choice, choose_settings, search_space
from recsys.config.settings import available_threads
from recsys.errors import DivergedError, NotEnoughMemory, TrainingTimeout
from recsys.pipeline.content import content_facts
from recsys.pipeline.embedding_start import EmbeddingStart, without_embeddings
from recsys.pipeline.fit_files import get_factors, put_factors
from recsys.pipeline.lineage import last_settings
from recsys.pipeline.memory_check import require_memory_of_run
from recsys.pipeline.run import RunReference, load_dataset
from recsys.pipeline.warm import load_warm_start, newest_model
from recsys.rng import derive_name
from recsys.storage.documents import read_document, write_once
from recsys.types import Factors, HistoryRow, Json

# Called with the model, whether this is a trial of the search, and the row.
FitProgress = Callable[[str, bool, HistoryRow], None]
_TRIAL_EPOCHS = 20  # ranks settings of BPR; ALS trials are whole fits
RANDOM_START = "random_start"  # below a model's prefix: the fit that used no embeddings
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
    random_start_sha256: Mapping[str, str] | None = None  # likewise, of the fit that used no embeddings


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
        random_start = fitter.fit_random_start(choice.settings)
    put_factors(store, prefix, result.factors)
    facts: Json = {"started_at": started_at.isoformat(), "ended_at": ended_at.isoformat()}
    if random_start is not None:
        put_factors(store, f"{prefix}/{RANDOM_START}", random_start)
        facts["random_start_sha256"] = random_start.sha256()
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
    return _Fitter(run, model, data, cancelled, shares, on_progress).fit({}, trial=False)


def chosen_settings(
    run: RunReference, model: str, data: InteractionDataset, shares: ThreadShares
) -> Mapping[str, Any]:
    """Return what a night of this run would choose for the fields left to the search; kept below its prefix."""
    return _Fitter(run, model, data, lambda: False, shares, None).choose().settings


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
        if model in ("bpr", "hybrid"):
            self.pools = build_pools(
                data.X_train_binary, data.user_seen_train, data.user_hard_neg_train, data.item_popularity
            )
        self.content: AlignedEmbeddings | None = None
        if model == "hybrid":
            self.content = aligned_embeddings(run.open_store(), data, run.config.bert)
        self.starts = EmbeddingStart(run, model, data)
        require_memory_of_run(run, data, self.content.dimensions if self.content else 0)

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
        content = [facts["sha256"]] if (facts := content_facts(self.content)) else []
        seed, start = self.run.config.runtime.seed, self.starts.identity()
        return derive_name(config, seed, self.warm_from, *shape, *content, *start)

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
        items = self.starts.items(config.factors)
        if self.model == "als":
            return train_als(
                self.data.X_train_confidence,
                self.data.X_train_binary,
                config,
                seed=seed,
                items=items,
                anchored=self.run.config.bert.anchored,
                freeze_first_iter=self.run.config.bert.freeze_first_iter,
                validate=self.validate,
                control=control,
            )
        if self.content:
            return fit_hybrid(
                self.pools, self.content, config, seed=seed, validate=self.validate, control=control
            )
        if trial:
            config = config.model_copy(update={"epochs": min(config.epochs, _TRIAL_EPOCHS)})
        warm = None if trial or not self.warm_from else load_warm_start(self.run, self.warm_from, self.data)
        return fit_bpr(
            self.pools, config, seed=seed, warm=warm, items=items, validate=self.validate, control=control
        )

    def fit_random_start(self, settings: Mapping[str, Any]) -> Factors | None:
        """Return the factors of the same settings from a random start, to tell what embeddings gained.

        None where no embeddings were used, ``bert.compare_random`` is off, or last night's factors counted too.
        """
        if not self.starts.to_compare or self.warm_from:
            return None
        run = without_embeddings(self.run, self.model, settings)
        try:
            plain = _Fitter(run, self.model, self.data, self.cancelled, self.shares, None)
            plain.deadline = self.deadline
            return plain.fit({}, trial=False).factors
        except (DivergedError, NotEnoughMemory, TrainingTimeout) as error:  # nobody serves it: go on without
            logger.warning("%s from a random start, for comparison: %s", self.model, error)
            return None


@cache
def _thread_shares(total: int) -> ThreadShares:
    """Return the one object through which the fits of this process share ``total`` threads."""
    return ThreadShares(total)


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
