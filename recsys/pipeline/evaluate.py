"""The evaluation stage: every model, the champion and the baselines in one walk over the same users."""

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.data.mappings import MAPPINGS_FILE, read_mappings
from recsys.cf.evaluation.baselines import improvement, popularity_scorer, random_scorer
from recsys.cf.evaluation.champion import AlignedScorer, align_factors
from recsys.cf.evaluation.evaluate import Evaluation, evaluate
from recsys.cf.evaluation.significance import Interval, holm, paired_bootstrap, permutation_test
from recsys.cf.evaluation.strata import strata_by_item_popularity, strata_by_user_activity
from recsys.cf.models.threads import use_compiled_threads
from recsys.cf.scoring.blocks import FactorScorer, Scorer
from recsys.cf.scoring.score_range import measure_score_distribution
from recsys.config.settings import available_threads
from recsys.errors import TrainingError
from recsys.pipeline.fit import FitReference, load_factors
from recsys.pipeline.run import RunReference, load_dataset
from recsys.registry.artifact import fetch_model
from recsys.registry.catalogue import Registry
from recsys.storage.base import Store
from recsys.storage.documents import put_deterministic
from recsys.types import Factors, Json

_POPULARITY, _RANDOM, _CHAMPION = "popularity", "random", "champion"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """The model that serves now, brought to tonight's users and items."""

    model_id: str
    scorer: AlignedScorer


def evaluate_models(run: RunReference, fits: Sequence[FitReference]) -> Json:
    """Return what every model of the night reached, as one JSON document of numbers.

    {"models": {name: metrics, baseline, improvement, improvement_ci, difference, score_range, ...},
    "baselines": {...}, "comparisons": [...], "champion_before": {...} | None, "n_users": int}. Per-user
    metrics of each model are written to the store, under the run's prefix. Raises EmptyDataError when
    nobody can be tested.
    """
    data, config = load_dataset(run), run.config.evaluation
    use_compiled_threads(run.config.runtime.threads or available_threads())
    popularity = popularity_scorer(data, config.popularity)
    factors = {fit.model: load_factors(run, fit) for fit in fits}
    scorers: dict[str, Scorer] = {name: FactorScorer(one) for name, one in factors.items()}
    scorers |= {_POPULARITY: popularity, _RANDOM: random_scorer(data, run.config.runtime.seed)}
    champion = _champion(run.open_store(), data)
    if champion is not None:
        scorers[_CHAMPION] = champion.scorer
    evaluations = evaluate(
        scorers,
        data.held_out("test"),
        data.user_seen_train,
        k_values=config.k_values,
        block_users=config.block_users,
    )
    _write_per_user_metrics(run, {fit.model: evaluations[fit.model] for fit in fits})
    models = {
        fit.model: {
            **_against_popularity(run, evaluations[fit.model], evaluations[_POPULARITY]),
            **_strata(run, data, evaluations[fit.model], evaluations[_POPULARITY]),
            **_scores(run, data, scorers[fit.model]),
            "finite": _is_finite(factors[fit.model]),
        }
        for fit in fits
    }
    return {
        "models": models,
        "baselines": {name: evaluations[name].metrics for name in (_POPULARITY, _RANDOM)},
        "comparisons": _comparisons(run, evaluations, [fit.model for fit in fits]),
        "champion_before": _champion_facts(run, champion, evaluations, models),
        "n_users": evaluations[_POPULARITY].n_users,
    }


def _is_finite(factors: Factors) -> bool:
    return bool(np.isfinite(factors.user_factors).all() and np.isfinite(factors.item_factors).all())


def _champion(store: Store, data: InteractionDataset) -> Champion | None:
    model_id = Registry(store).state().champion
    if model_id is None:
        return None
    with TemporaryDirectory(prefix="recsys-champion-") as directory:
        path = fetch_model(store, model_id, Path(directory) / model_id)
        name = model_id.split("_", 1)[0]
        factors = Factors(*(np.load(path / f"{name}_{side}.npy", allow_pickle=False) for side in "UV"))
        ids = read_mappings(path / MAPPINGS_FILE)
    return Champion(model_id, align_factors(factors, ids, data.mappings, data.item_popularity))


def _bootstrap(run: RunReference, a: Evaluation, b: Evaluation, metric: str) -> Interval:
    config = run.config.evaluation
    return paired_bootstrap(
        a.per_user[metric],
        b.per_user[metric],
        resamples=config.bootstrap_resamples,
        level=config.confidence_level,
        seed=run.config.runtime.seed,
    )


def _tested_metrics(run: RunReference) -> list[str]:
    """Return the metrics that get intervals: recall and ndcg at every cutoff, and those of the gates."""
    names = [f"{name}@{k}" for k in run.config.evaluation.k_values for name in ("recall", "ndcg")]
    gated = [run.config.promotion.metric, run.config.promotion.choose_by]
    return list(dict.fromkeys([*names, *gated]))


def _against_popularity(run: RunReference, model: Evaluation, baseline: Evaluation) -> Json:
    intervals = {metric: _bootstrap(run, model, baseline, metric) for metric in _tested_metrics(run)}
    return {
        "metrics": model.metrics,
        "baseline": baseline.metrics,
        "improvement": {name: improvement(model.metrics[name], baseline.metrics[name]) for name in intervals},
        "improvement_ci": {name: [one.relative_low, one.relative_high] for name, one in intervals.items()},
        "difference": {name: one.to_json() for name, one in intervals.items()},
        "n_users": model.n_users,
    }


def _comparisons(
    run: RunReference, evaluations: Mapping[str, Evaluation], models: Sequence[str]
) -> list[Json]:
    """Return paired comparisons on the promotion metric, their p-values adjusted together after Holm."""
    metric = run.config.promotion.metric
    others = [_POPULARITY] + ([_CHAMPION] if _CHAMPION in evaluations else [])
    pairs = [(model, other) for model in models for other in others] + list(combinations(models, 2))
    rows = []
    for a, b in pairs:
        p_value = permutation_test(
            evaluations[a].per_user[metric],
            evaluations[b].per_user[metric],
            permutations=run.config.evaluation.bootstrap_resamples,
            seed=run.config.runtime.seed,
        )
        interval = _bootstrap(run, evaluations[a], evaluations[b], metric).to_json()
        rows.append({"a": a, "b": b, "metric": metric, **interval, "p_value": p_value})
    adjusted = holm([row["p_value"] for row in rows])
    return [{**row, "p_adjusted": p} for row, p in zip(rows, adjusted, strict=True)]


def _strata(run: RunReference, data: InteractionDataset, model: Evaluation, baseline: Evaluation) -> Json:
    k = run.config.evaluation.k_values[0]
    return {
        "strata": {
            "user_activity": strata_by_user_activity(model, baseline, data.user_seen_train.counts(), k),
            "item_popularity": strata_by_item_popularity(model, baseline, data.item_train_counts, k),
        }
    }


def _scores(run: RunReference, data: InteractionDataset, scorer: Scorer) -> Json:
    """Return score_range and score_histogram; a degenerate range is a finding of the gate, not a crash."""
    config = run.config.evaluation
    validation_users = np.flatnonzero(data.held_out("validation").counts())
    users = validation_users if len(validation_users) else np.flatnonzero(data.held_out("test").counts())
    try:
        distribution = measure_score_distribution(
            scorer,
            users.astype(np.int32),
            data.user_seen_train,
            method="validation_set" if len(validation_users) else "test_set",
            block_users=config.block_users,
            max_exact_samples=config.score_range_exact_samples,
        )
    except TrainingError as error:
        logger.warning("score range: %s", error)
        return {"score_range": None, "score_range_error": str(error)}
    return {
        "score_range": distribution.score_range.to_json(),
        "score_histogram": {
            "edges": distribution.edges.tolist(),
            "counts": distribution.counts.tolist(),
        },
    }


def _champion_facts(
    run: RunReference,
    champion: Champion | None,
    evaluations: Mapping[str, Evaluation],
    models: Mapping[str, Json],
) -> Json | None:
    """Return the champion's metrics on tonight's users and each model's interval against it."""
    if champion is None:
        return None
    evaluation = evaluations[_CHAMPION]
    metric = run.config.promotion.metric
    return {
        "model_id": champion.model_id,
        "metrics": evaluation.metrics,
        "n_users": evaluation.n_users,
        "common_users": int(champion.scorer.known_users[evaluation.users].sum()),
        "common_items": int(champion.scorer.known_items.sum()),
        "versus": {name: _bootstrap(run, evaluations[name], evaluation, metric).to_json() for name in models},
    }


def _write_per_user_metrics(run: RunReference, evaluations: Mapping[str, Evaluation]) -> None:
    store = run.open_store()
    for model, evaluation in evaluations.items():
        buffer = io.BytesIO()
        evaluation.to_frame().write_parquet(buffer)
        put_deterministic(store, f"{run.prefix}/{model}/per_user_metrics.parquet", buffer.getvalue())
