"""Registered models measured again, on any data version: one against popularity, or two against each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.cf.data.load import load_processed_data
from recsys.cf.evaluation.cold_start import cold_items
from recsys.cf.evaluation.evaluate import Evaluation
from recsys.cf.evaluation.significance import holm, permutation_test
from recsys.cf.evaluation.strata import strata_by_item_popularity, strata_by_user_activity
from recsys.cf.models.threads import use_compiled_threads
from recsys.config.schema import TrainingConfig
from recsys.config.settings import available_threads
from recsys.pipeline.comparison import Comparison
from recsys.pipeline.contender import Contender, load_contender
from recsys.pipeline.testbed import POPULARITY, Testbed, open_testbed
from recsys.registry.catalogue import Registry
from recsys.storage.base import Store
from recsys.types import Json


def evaluate_registered(store: Store, name: str, data_version: str, config: TrainingConfig) -> Json:
    """Return the metrics of a registered model on the test users of a data version, against popularity.

    Args:
        name: Model id, its unique beginning, "champion" or "previous".
        data_version: "latest", an id, or a hash prefix.

    Returns:
        The model as ``Comparison.against`` says it, its strata, cold start, baselines, how many users and
        items it knows, and warnings about what makes the numbers doubtful.
    """
    testbed, (contender,) = _open(store, [name], data_version, config)
    evaluations = testbed.evaluate({contender.model_id: contender.scorer})
    model, popularity = evaluations[contender.model_id], evaluations[POPULARITY]
    data, k_values = testbed.data, config.evaluation.k_values
    return {
        "model_id": contender.model_id,
        "data_version": data.version,
        **_acquaintance(contender, model),
        **Comparison(config).against(model, popularity),
        "strata": {
            "user_activity": strata_by_user_activity(
                model, popularity, data.user_seen_train.counts(), k_values[0]
            ),
            "item_popularity": strata_by_item_popularity(
                model, popularity, data.item_train_counts, k_values[0]
            ),
        },
        "cold_start_performance": cold_items(model, popularity, data.item_train_counts, k_values),
        "baselines": {one: evaluations[one].metrics for one in testbed.baselines},
        "warnings": _warnings(contender, model),
    }


def compare_registered(store: Store, a: str, b: str, data_version: str, config: TrainingConfig) -> Json:
    """Return two registered models side by side on the same test users of a data version, paired.

    Args:
        a, b: Models, named as for ``evaluate_registered``.

    Returns:
        {"a", "b", "data_version", "n_users", "metrics": a row per tested metric with the values of both,
        a - b, its interval, its p-value and that adjusted after Holm, "power", "common": the same rows over
        the users both know or None, "models": what each knows, "baselines", "warnings"}.
    """
    testbed, contenders = _open(store, [a, b], data_version, config)
    first, second = contenders
    evaluations = testbed.evaluate({one.model_id: one.scorer for one in contenders})
    ours, theirs = (evaluations[one.model_id] for one in contenders)
    comparison = Comparison(config)
    common = first.scorer.known_users[ours.users] & second.scorer.known_users[ours.users]
    return {
        "a": first.model_id,
        "b": second.model_id,
        "data_version": testbed.data.version,
        "n_users": ours.n_users,
        "metrics": _rows(comparison, config, ours, theirs, np.ones(ours.n_users, dtype=np.bool_)),
        "power": comparison.power(ours, theirs),
        "common": {
            "n_users": int(common.sum()),
            "metrics": _rows(comparison, config, ours, theirs, common) if common.any() else [],
        },
        "models": {
            one.model_id: {"metrics": evaluations[one.model_id].metrics} | _acquaintance(one, ours)
            for one in contenders
        },
        "baselines": {one: evaluations[one].metrics for one in testbed.baselines},
        "warnings": list(dict.fromkeys(line for one in contenders for line in _warnings(one, ours))),
    }


def _open(
    store: Store, names: Sequence[str], data_version: str, config: TrainingConfig
) -> tuple[Testbed, list[Contender]]:
    use_compiled_threads(config.runtime.threads or available_threads())
    data = load_processed_data(store, data_version)
    registry = Registry(store)
    contenders = [load_contender(store, registry.show(name).model_id, data) for name in names]
    return open_testbed(store, data, config), contenders


def _acquaintance(contender: Contender, evaluation: Evaluation) -> Json:
    return {
        "trained_on": contender.data_version,
        "common_users": int(contender.scorer.known_users[evaluation.users].sum()),
        "common_items": int(contender.scorer.known_items.sum()),
        "test_pairs_in_its_training": contender.n_leaked_pairs,
    }


def _warnings(contender: Contender, evaluation: Evaluation) -> list[str]:
    found = []
    if contender.n_leaked_pairs:
        found.append(
            f"{contender.model_id} was trained on {contender.n_leaked_pairs} of the "
            f"{len(evaluation.held_out_items)} test pairs: its metrics here are too high; evaluate it on its "
            f"own data version {contender.data_version} or a newer one"
        )
    n_known = int(contender.scorer.known_users[evaluation.users].sum())
    if n_known < evaluation.n_users / 2:
        found.append(
            f"{contender.model_id} knows {n_known} of {evaluation.n_users} test users; the others are served "
            "by popularity, so that its metrics are mostly those of popularity"
        )
    return found


def _rows(
    comparison: Comparison, config: TrainingConfig, a: Evaluation, b: Evaluation, users: NDArray[np.bool_]
) -> list[Json]:
    rows = []
    for metric in comparison.tested_metrics:
        ours, theirs = a.per_user[metric][users], b.per_user[metric][users]
        p_value = permutation_test(
            ours, theirs, permutations=config.evaluation.bootstrap_resamples, seed=config.runtime.seed
        )
        values = {"metric": metric, "a": float(ours.mean()), "b": float(theirs.mean())}
        interval = comparison.interval(a, b, metric, users).to_json()
        rows.append({**values, **interval, "p_value": p_value})
    adjusted = holm([row["p_value"] for row in rows])
    return [{**row, "p_adjusted": p} for row, p in zip(rows, adjusted, strict=True)]
