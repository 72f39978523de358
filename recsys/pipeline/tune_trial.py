"""One trial of a study: a fit on train with given settings, its objective on validation, written once."""

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.load import load_processed_data
from recsys.cf.models.base import FitResult
from recsys.cf.models.threads import ThreadShares
from recsys.cf.tuning.pruning import TrialPruned, Watch
from recsys.cf.tuning.sampling import PlannedTrial
from recsys.cf.tuning.space import setting_label
from recsys.config.schema import TrainingConfig
from recsys.config.settings import available_threads, state_dir
from recsys.errors import DivergedError, NotEnoughMemory
from recsys.pipeline.fit import fit_settings
from recsys.pipeline.run import RunReference
from recsys.pipeline.study import OBJECTIVE, StudyReference, trial_documents, trial_key
from recsys.storage.documents import read_document, write_once
from recsys.storage.open import open_store
from recsys.types import HistoryRow, Json

_KEPT_OF_HISTORY = ("epoch", "iteration", "seconds", "loss")
_load_lock = threading.Lock()
logger = logging.getLogger(__name__)


def run_trial(
    study: StudyReference, planned: PlannedTrial, cancelled: Callable[[], bool] = lambda: False
) -> Json:
    """Return the document of a trial: run it, or find it when an earlier attempt has ended it.

    A trial that diverges or finds too little memory has ended too, with objective 0: it says something about
    its settings. Every other error is raised. Deterministic; the data are read once per process.
    """
    store, key = study.open_store(), trial_key(study, planned.number)
    known = read_document(store, key)
    if known is not None:
        return known
    config = study.trial_config(planned.settings)
    tuning, history = config.tuning, list[HistoryRow]()
    peers = trial_documents(study, before=planned.batch_start) if tuning.pruner != "none" else []
    watch = Watch(tuning.pruner, peers, objective=OBJECTIVE, warmup=tuning.pruner_warmup)

    def on_progress(row: HistoryRow) -> None:
        history.append(row)
        watch(row)

    outcome: Json = {"state": "complete", "error": None}
    started, began = time.time(), time.perf_counter()
    try:
        fit_config(study, config, tuning_data(study), on_progress=on_progress, cancelled=cancelled)
    except TrialPruned as pruned:
        outcome = {"state": "pruned", "error": str(pruned)}
    except (DivergedError, NotEnoughMemory) as error:
        outcome = {
            "state": "diverged" if isinstance(error, DivergedError) else "refused",
            "error": str(error),
        }
    seconds = time.perf_counter() - began
    document = {
        "number": planned.number,
        "stage": planned.stage,
        "settings": dict(planned.settings),
        **outcome,
        **_measured(history, outcome["state"]),
        "rungs": watch.rungs,
        "history": [_shortened(row) for row in history],
        "seconds": seconds,
        "started_at": started,
        "host": platform.node(),
        "pid": os.getpid(),
        "section": getattr(config, study.model).model_dump(mode="json"),
    }
    logger.info(
        "trial %d, %s: %s %s %.4f in %.1f s",
        planned.number,
        setting_label(planned.settings),
        outcome["state"],
        OBJECTIVE,
        document["value"],
        seconds,
    )
    return write_once(store, key, document)


def fit_config(
    study: StudyReference,
    config: TrainingConfig,
    data: InteractionDataset,
    *,
    on_progress: Callable[[HistoryRow], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> FitResult:
    """Return a fit of the study's model on ``data`` with this configuration, with its share of the cores."""
    watch = on_progress
    with thread_shares(config) as shares:
        return fit_settings(
            run_of(study, config),
            study.model,
            data,
            shares,
            on_progress=(lambda _model, _trial, row: watch(row)) if watch else None,
            cancelled=cancelled,
        )


def run_of(
    study: StudyReference, config: TrainingConfig, searched: frozenset[str] = frozenset()
) -> RunReference:
    """Return the run under whose name the study's fits go; ``config`` has its presets written out."""
    return RunReference(
        store_uri=study.store_uri,
        run_id=study.study_id,
        data_version=study.data_version,
        fingerprint="",
        config=config.model_copy(
            update={"runtime": config.runtime.model_copy(update={"models": (study.model,)})}
        ),
        searched={study.model: searched},
    )


@contextmanager
def thread_shares(config: TrainingConfig) -> Iterator[ThreadShares]:
    """Give the cores a fit may use: its share of this process's, or on a cluster a fixed number."""
    tuning = config.tuning
    if tuning.runner == "threads":
        shares = _process_shares(config.runtime.threads or available_threads())
    else:
        shares = ThreadShares(tuning.trial_threads)
    with shares.join():
        yield shares


@cache
def _process_shares(total: int) -> ThreadShares:
    return ThreadShares(total)


def tuning_data(study: StudyReference) -> InteractionDataset:
    """Return the study's verified data: files in the state folder, mapped, so that processes share the pages.

    Read once per process.
    """
    with _load_lock:
        return _load(study.store_uri, study.data_version)


@lru_cache(maxsize=1)
def _load(store_uri: str, version: str) -> InteractionDataset:
    return load_processed_data(open_store(store_uri), version, cache_dir=state_dir() / "data")


def _measured(history: list[HistoryRow], state: str) -> Json:
    """Return the metrics of the best look at validation and where it was; objective 0 without any."""
    looks = [row for row in history if row.get(OBJECTIVE) is not None]
    best = max(looks, key=lambda row: float(row[OBJECTIVE] or 0.0)) if looks else None
    usable = best is not None and state in ("complete", "pruned")
    step = (best.get("epoch") or best.get("iteration")) if best else None
    return {
        "value": float(best[OBJECTIVE] or 0.0) if best and usable else 0.0,
        "metrics": {name: value for name, value in best.items() if "@" in name} if best and usable else {},
        "best_iteration": step if usable else None,
        "iterations": len(history),
    }


def _shortened(row: HistoryRow) -> HistoryRow:
    kept = {name: value for name, value in row.items() if name in _KEPT_OF_HISTORY or "@" in name}
    # a diverged fit's last loss is no number, which JSON cannot hold
    return {
        name: None if isinstance(value, float) and value - value != 0 else value
        for name, value in kept.items()
    }
