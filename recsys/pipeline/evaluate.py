"""The evaluation stage: every model, the champion and the baselines in one walk over the same users."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations

import numpy as np

from recsys.cf.data.dataset import InteractionDataset
from recsys.cf.evaluation.cold_start import cold_items, cold_users
from recsys.cf.evaluation.evaluate import Evaluation
from recsys.cf.evaluation.strata import strata_by_item_popularity, strata_by_user_activity
from recsys.cf.models.threads import use_compiled_threads
from recsys.cf.scoring.blocks import FactorScorer, Scorer
from recsys.cf.scoring.score_range import measure_score_distribution
from recsys.config.settings import available_threads
from recsys.errors import IntegrityError, ModelNotFound, TrainingError
from recsys.pipeline.champion_facts import champion_facts, comparable_users
from recsys.pipeline.comparison import Comparison
from recsys.pipeline.contender import Contender, DamagedModel, load_contender
from recsys.pipeline.earlier_attempt import champion_before
from recsys.pipeline.fit import FitReference, load_factors, load_random_start
from recsys.pipeline.run import RunReference, load_dataset
from recsys.pipeline.testbed import CHAMPION, POPULARITY, Testbed, open_testbed
from recsys.storage.documents import put_file_deterministic
from recsys.storage.files import translated_errors
from recsys.storage.scratch import scratch_folder
from recsys.types import Factors, Json

_BLOCK_ROWS = 1 << 14
logger = logging.getLogger(__name__)


def evaluate_models(run: RunReference, fits: Sequence[FitReference]) -> Json:
    """Return what every model of the night reached, as one JSON document of numbers.

    {"models": {name: metrics, baseline, improvement, improvement_ci, difference, power, strata,
    cold_start_performance, score_range, finite, ...}, "baselines": {...}, "comparisons": [...],
    "champion_before": {...} | None, "champion_damaged": {model_id, reason} | None, "cold_users": {...},
    "n_users": int}. A model whose factors are no usable numbers is not measured; the others are. Per-user metrics
    of each model are written to the store, under the run's prefix. Raises EmptyDataError when nobody can be
    tested.
    """
    data = load_dataset(run)
    use_compiled_threads(run.config.runtime.threads or available_threads())
    testbed = open_testbed(run.open_store(), data, run.config)
    factors = {fit.model: load_factors(run, fit) for fit in fits}
    usable = [name for name, one in factors.items() if is_usable(one)]
    scorers: dict[str, Scorer] = {name: FactorScorer(factors[name]) for name in usable}
    plain = {fit.model: load_random_start(run, fit) for fit in fits if fit.model in usable}
    scorers |= {_random_start(name): FactorScorer(one) for name, one in plain.items() if one is not None}
    champion = _champion(run, fits, data)
    if isinstance(champion, Contender):
        scorers[CHAMPION] = champion.scorer
    evaluations = testbed.evaluate(scorers)
    _write_per_user_metrics(run, {name: evaluations.get(name) for name in factors})
    comparison = Comparison(run.config)
    models = {
        name: _measured(testbed, comparison, name, scorers[name], evaluations)
        if name in usable
        else _unmeasured(comparison, evaluations[POPULARITY])
        for name in factors
    }
    others = [POPULARITY] + ([CHAMPION] if CHAMPION in scorers else [])
    pairs = [(model, other) for model in usable for other in others] + list(combinations(usable, 2))
    return {
        "models": models,
        "baselines": {name: evaluations[name].metrics for name in testbed.baselines},
        "comparisons": comparison.table(
            evaluations,
            pairs,
            {CHAMPION: comparable_users(champion, evaluations[CHAMPION])}
            if isinstance(champion, Contender)
            else {},
        ),
        "champion_before": champion_facts(
            comparison, champion, evaluations[CHAMPION], {name: evaluations[name] for name in usable}
        )
        if isinstance(champion, Contender)
        else None,
        "champion_damaged": asdict(champion) if isinstance(champion, DamagedModel) else None,
        "cold_users": cold_users(
            testbed.interactions,
            testbed.held_out,
            data.user_seen_train,
            testbed.popularity,
            testbed.item_vectors,
            k_values=run.config.evaluation.k_values,
            block_users=testbed.block_users,
        ),
        "n_users": evaluations[POPULARITY].n_users,
        **_sampled_from(testbed),
    }


def _sampled_from(testbed: Testbed) -> Json:
    """Return how many test users there are where a sample of them was measured, else nothing."""
    most = testbed.config.evaluation.max_users
    if most is None:
        return {}
    n_users = int(testbed.data.test_interactions["user_idx"].n_unique())
    return {"sampled_from_users": n_users} if n_users > most else {}


def is_usable(factors: Factors) -> bool:
    """Return whether all factors are finite and no product of a user and an item can leave float32."""
    longest = 1.0
    for matrix in (factors.user_factors, factors.item_factors):
        longest_row = 0.0
        for start in range(0, len(matrix), _BLOCK_ROWS):
            block = matrix[start : start + _BLOCK_ROWS]
            if not np.isfinite(block).all():
                return False
            longest_row = max(longest_row, float(np.linalg.norm(block.astype(np.float64), axis=1).max()))
        longest *= longest_row
    return longest < float(np.finfo(np.float32).max)


def _champion(
    run: RunReference, fits: Sequence[FitReference], data: InteractionDataset
) -> Contender | DamagedModel | None:
    """Return the model that served before this night, see ``champion_before``.

    A damaged one must not keep a sound one from taking its place.
    """
    champion = champion_before(run, fits)
    if champion is None:
        return None
    try:
        manifest_sha256 = run.registry().show(champion).manifest_sha256
        return load_contender(run.open_store(), champion, data, expected_sha256=manifest_sha256)
    except (IntegrityError, ModelNotFound) as error:
        logger.warning("champion %s cannot be used: %s", champion, error)
        return DamagedModel(champion, str(error))


def _random_start(model: str) -> str:
    """Return the name under which the fit of a model that used no embeddings is measured."""
    return f"{model} from a random start"


def _measured(
    testbed: Testbed,
    comparison: Comparison,
    name: str,
    scorer: Scorer,
    evaluations: Mapping[str, Evaluation],
) -> Json:
    data, k_values = testbed.data, testbed.config.evaluation.k_values
    model, popularity = evaluations[name], evaluations[POPULARITY]
    plain = evaluations.get(_random_start(name))
    return {
        **comparison.against(model, popularity),
        "strata": {
            "user_activity": strata_by_user_activity(
                model, popularity, data.user_seen_train.counts(), k_values[0]
            ),
            "item_popularity": strata_by_item_popularity(
                model, popularity, data.item_train_counts, k_values[0]
            ),
        },
        "cold_start_performance": cold_items(
            model, popularity, data.item_train_counts, k_values, random_init=plain
        ),
        "random_start": None
        if plain is None
        else {
            "metrics": plain.metrics,
            "versus": comparison.interval(model, plain, comparison.headline).to_json(),
        },
        **_scores(testbed, scorer),
        "finite": True,
    }


def _unmeasured(comparison: Comparison, popularity: Evaluation) -> Json:
    names = comparison.tested_metrics
    return {
        "metrics": {},
        "baseline": popularity.metrics,
        "improvement": dict.fromkeys(names),
        "improvement_ci": {name: [None, None] for name in names},
        "difference": {},
        "power": None,
        "n_users": popularity.n_users,
        "strata": {},
        "cold_start_performance": None,
        "random_start": None,
        "score_range": None,
        "score_range_error": "the factors are no usable numbers",
        "finite": False,
    }


def _scores(testbed: Testbed, scorer: Scorer) -> Json:
    """Return score_range and score_histogram; a degenerate range is a finding of the gate, not a crash."""
    data, config = testbed.data, testbed.config.evaluation
    validation_users = np.flatnonzero(data.held_out("validation").counts())
    users = validation_users if len(validation_users) else np.flatnonzero(testbed.held_out.counts())
    try:
        distribution = measure_score_distribution(
            scorer,
            users.astype(np.int32),
            data.user_seen_train,
            method="validation_set" if len(validation_users) else "test_set",
            block_users=testbed.block_users,
            max_exact_samples=config.score_range_exact_samples,
            max_scores=config.max_scores,
            seed=testbed.config.runtime.seed,
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


def _write_per_user_metrics(run: RunReference, evaluations: Mapping[str, Evaluation | None]) -> None:
    store = run.open_store()
    with scratch_folder("metrics") as temporary:
        for model, evaluation in evaluations.items():
            path = temporary / f"{model}.parquet"
            frame = Evaluation.empty_frame() if evaluation is None else evaluation.to_frame()
            with translated_errors(str(path)):
                frame.write_parquet(path)
            put_file_deterministic(store, f"{run.prefix}/{model}/per_user_metrics.parquet", path)
