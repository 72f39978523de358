"""The winner of a study beside the current configuration: paired on validation, then one look at test."""

import io
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.merge import train_on
from recsys.cf.evaluation.baselines import popularity_scorer
from recsys.cf.evaluation.evaluate import Evaluation, evaluate
from recsys.cf.evaluation.significance import paired_bootstrap
from recsys.cf.models.base import FitResult
from recsys.cf.scoring.blocks import FactorScorer, Scorer
from recsys.config.presets import resolve_presets, unset_fields
from recsys.config.schema import TrainingConfig
from recsys.pipeline.fit import chosen_settings
from recsys.pipeline.study import OBJECTIVE, StudyReference, winning_settings
from recsys.pipeline.tune_trial import fit_config, run_of, thread_shares, tuning_data
from recsys.storage.documents import put_deterministic, read_document, write_once
from recsys.types import Json

WINNER, CURRENT, POPULARITY = "winner", "current", "popularity"
_STEPS = {"als": "iterations"}  # of other models: epochs
_EVALUATED_USERS = 8192  # scored at a time; no number depends on it
logger = logging.getLogger(__name__)


def measure(study: StudyReference, which: str) -> Json:
    """Return what "winner" or "current" reaches on validation, and keep its metrics of every user.

    The fit is made again: fits are deterministic, and keeping the factors of all trials would cost more.
    Under ``preset: auto`` the current configuration is what tonight's search would choose.
    """
    store, key = study.open_store(), f"{study.prefix}/measured/{which}"
    known = read_document(store, f"{key}.json", required=("metrics", "best_iteration", "section"))
    if known is not None:
        return known
    data = tuning_data(study)
    number = winning_settings(study)[0] if which == WINNER else None
    config = study.trial_config(winning_settings(study)[1]) if which == WINNER else current_config(study)
    fit = fit_config(study, config, data)
    found = _evaluate(data, "validation", {which: FactorScorer(fit.factors)}, config)[which]
    buffer = io.BytesIO()
    found.to_frame().write_parquet(buffer)
    put_deterministic(store, f"{key}.parquet", buffer.getvalue())
    document = {
        "trial": number,
        "metrics": found.metrics,
        "n_users": found.n_users,
        "best_iteration": fit.best_iteration,
        "seconds": fit.seconds,
        "section": getattr(config, study.model).model_dump(mode="json"),
    }
    logger.info("%s: %s %.4f on validation", which, OBJECTIVE, found.metrics[OBJECTIVE])
    return write_once(store, f"{key}.json", document)


def current_config(study: StudyReference) -> TrainingConfig:
    """Return the current configuration with presets, and what ``auto`` chooses, written out."""
    given = study.config
    section = getattr(given, study.model)
    resolved = resolve_presets(given)
    if getattr(section, "preset", None) != "auto":
        return resolved
    with thread_shares(resolved) as shares:
        run = run_of(study, resolved, searched=unset_fields(section))
        chosen = chosen_settings(run, study.model, tuning_data(study), shares)
    searched = getattr(resolved, study.model).model_copy(update=dict(chosen))
    return resolved.model_copy(update={study.model: searched})


def compare_on_validation(study: StudyReference) -> Json:
    """Return the paired intervals of winner - current, by metric, over the same validation users."""
    store = study.open_store()
    frames = {
        which: pl.read_parquet(io.BytesIO(store.get(f"{study.prefix}/measured/{which}.parquet").data))
        for which in (WINNER, CURRENT)
    }
    return _intervals(study.config, *({name: frame[name].to_numpy() for name in frame.columns if "@" in name}
                                      for frame in frames.values()))  # fmt: skip


def final_look(study: StudyReference) -> Json:
    """Return winner, current configuration and popularity on test, after a retrain on train + validation.

    Each is trained for the epochs or iterations that were best on validation, without looking at anything.
    Test is looked at once: the document is kept, and found again whoever asks.
    """
    store, key = study.open_store(), f"{study.prefix}/final.json"
    known = read_document(store, key, required=("metrics",))
    if known is not None:
        return known
    data = train_on(tuning_data(study), ["validation"])
    fits = {which: retrain(study, which, data) for which in (WINNER, CURRENT)}
    scorers: dict[str, Scorer] = {which: FactorScorer(fit.factors) for which, fit in fits.items()}
    scorers[POPULARITY] = popularity_scorer(data, "train_counts")
    found = _evaluate(data, "test", scorers, study.config)
    versus = {
        other: _intervals(study.config, found[WINNER].per_user, found[other].per_user)
        for other in (CURRENT, POPULARITY)
    }
    document = {
        "trained_on": ["train", "validation"],
        "metrics": {which: one.metrics for which, one in found.items()},
        "n_users": found[WINNER].n_users,
        "steps": {which: len(fit.history) for which, fit in fits.items()},
        "versus": versus,
    }
    return write_once(store, key, document)


def retrain(study: StudyReference, which: str, data: InteractionDataset) -> FitResult:
    """Return a fit of "winner" or "current" on other data, as long as was best on validation."""
    measured = measure(study, which)
    config = study.trial_config(_section_settings(study.model, measured["section"]))
    steps = {_STEPS.get(study.model, "epochs"): measured["best_iteration"]}
    section = getattr(config, study.model).model_copy(update=steps)
    return fit_config(study, config.model_copy(update={study.model: section}), data)


def _section_settings(model: str, section: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{model}.{name}": value for name, value in section.items()}


def _evaluate(
    data: InteractionDataset, split: str, scorers: Mapping[str, Scorer], config: TrainingConfig
) -> dict[str, Evaluation]:
    k_values = sorted({int(OBJECTIVE.partition("@")[2]), *config.evaluation.k_values})
    return evaluate(
        scorers,
        data.held_out(split),
        data.user_seen_train,
        k_values=k_values,
        block_users=min(_EVALUATED_USERS, config.evaluation.block_users),
        lists=False,
    )


def _intervals(config: TrainingConfig, a: Mapping[str, Any], b: Mapping[str, Any]) -> Json:
    """Return the paired bootstrap interval of a - b for NDCG and recall at each cutoff."""
    settings = config.evaluation
    return {
        name: paired_bootstrap(
            np.asarray(a[name]),
            np.asarray(b[name]),
            resamples=settings.bootstrap_resamples,
            level=settings.confidence_level,
            seed=config.runtime.seed,
        ).to_json()
        for name in a
        if name in b and name.startswith(("ndcg@", "recall@"))
    }
