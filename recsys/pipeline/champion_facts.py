"""The champion on tonight's users, and every model of the night against it on those it was not trained on."""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from recsys.cf.evaluation.evaluate import Evaluation
from recsys.cf.evaluation.significance import Interval
from recsys.pipeline.comparison import Comparison
from recsys.pipeline.contender import Contender
from recsys.types import Json


def comparable_users(champion: Contender, evaluation: Evaluation) -> NDArray[np.bool_]:
    """Return for each evaluated user whether none of the test pairs was in the champion's training data."""
    return ~champion.leaked_users[evaluation.users]


def champion_facts(
    comparison: Comparison,
    champion: Contender,
    evaluation: Evaluation,
    models: Mapping[str, Evaluation],
) -> Json:
    """Return the champion's metrics on tonight's users and each model's interval against it.

    "metrics" are over all users, those the champion does not know served by popularity; "versus" leaves out
    the "users_left_out" whose test pairs it was trained on, its numbers null where nobody remains, and "common"
    is the same over those users it knows, null where there is none.
    """
    known = champion.scorer.known_users[evaluation.users]
    fair = comparable_users(champion, evaluation)
    common = known & fair
    return {
        "model_id": champion.model_id,
        "data_version": champion.data_version,
        "metrics": evaluation.metrics,
        "n_users": evaluation.n_users,
        "common_users": int(known.sum()),
        "common_items": int(champion.scorer.known_items.sum()),
        "test_pairs_in_its_training": champion.n_leaked_pairs,
        "users_left_out": int((~fair).sum()),
        "versus": {
            name: _versus(comparison, model, evaluation, fair)
            | {"power": comparison.power(model, evaluation, fair) if fair.any() else None}
            for name, model in models.items()
        },
        "common": _common(comparison, models, evaluation, common)
        | {"users_left_out": int((known & ~fair).sum())}
        if common.any()
        else None,
    }


def _common(
    comparison: Comparison,
    models: Mapping[str, Evaluation],
    champion: Evaluation,
    users: NDArray[np.bool_],
) -> Json:
    return {
        "n_users": int(users.sum()),
        "metrics": {name: float(values[users].mean()) for name, values in champion.per_user.items()},
        "versus": {name: _versus(comparison, model, champion, users) for name, model in models.items()},
    }


def _versus(
    comparison: Comparison, model: Evaluation, champion: Evaluation, users: NDArray[np.bool_]
) -> Json:
    if not users.any():
        return dict.fromkeys(field.name for field in fields(Interval)) | {"n_users": 0}
    return comparison.interval(model, champion, comparison.headline, users).to_json()
